"""Runs many trainings: finished ones are taken from the store, the others are trained, each in its own process.

    trainings = plan_trainings(recipes, dataset, device, log)
    for index, run in run_all(trainings, log=log, quiet=False):
        ...                       # `run` is the finished run of recipes[index]

Separate processes make the peak memory of each training measurable, and a crash does not affect other trainings. A
training that another process is already running comes last, and the result of that process is used.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import wait
from pathlib import Path

import torch

from mixlab.data.batches import steps_per_epoch
from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.errors import Interrupted, UserError
from mixlab.measure.machine import pick_device
from mixlab.report.numbers import duration
from mixlab.report.text import pluralize
from mixlab.runs.folder import Run
from mixlab.runs.lease import Held, is_held
from mixlab.runs.store import finished_run
from mixlab.speed.plan import Plan
from mixlab.training.job import Job, resolve
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.linear_probe.train import LinearProbeJob, resolve_linear_probe, train_linear_probe
from mixlab.training.loop import train
from mixlab.training.planning.autotune import select_common_plans
from mixlab.training.recipes.schema import Recipe

Log = Callable[[str], None]

_SIGNAL_INTERVAL = 2.0  # seconds

STARTUP_SECONDS = 2.0
"""Time per training in addition to its steps: start of the process, data, last checkpoint."""


@dataclass(frozen=True)
class Training:
    """A job with its plan and the estimated seconds per step. Both are None for a linear probe."""

    job: Job | LinearProbeJob
    plan: Plan | None = None
    seconds_per_step: float | None = None

    @cached_property
    def folder(self) -> Path:
        """The folder in the store."""
        return self.job.folder(self.plan) if isinstance(self.job, Job) else self.job.folder()

    @property
    def seconds(self) -> float:
        """Estimated seconds of the training. A linear probe counts with its start-up only."""
        if not isinstance(self.job, Job) or self.seconds_per_step is None:
            return STARTUP_SECONDS
        steps = self.job.steps(steps_per_epoch(len(self.job.dataset.splits["train"]), self.job.batch))
        return STARTUP_SECONDS + steps * self.seconds_per_step

    def __str__(self) -> str:
        recipe = self.job.recipe
        return f"{recipe.model}, seed {recipe.seed}"


def plan_trainings(
    recipes: Sequence[Recipe | LinearProbeRecipe], dataset: Dataset, device: torch.device, log: Log
) -> list[Training]:
    """Resolve the recipes, and select one compute mode for all of them.

    recipes  recipes with the same data
    dataset  the result of `open_dataset` for these data
    log      called with progress messages

    Raises UserError if a recipe does not fit the data or a model does not fit into memory.
    """
    jobs = [
        resolve_linear_probe(recipe, dataset, device)
        if isinstance(recipe, LinearProbeRecipe)
        else resolve(recipe, dataset, device)
        for recipe in recipes
    ]
    with_steps = [job for job in jobs if isinstance(job, Job)]
    plans = iter(select_common_plans(with_steps, log) if with_steps else ())
    return [Training(job, *next(plans)) if isinstance(job, Job) else Training(job) for job in jobs]


def run_all(trainings: Sequence[Training], *, log: Log, quiet: bool) -> Iterator[tuple[int, Run]]:
    """Yield (index in `trainings`, finished run) for every training, in the order in which they finish.

    If a training fails, the others continue, and the first error is raised after the last training. After an
    interruption, the finished runs and the checkpoints are in the store, and the same call continues. `log` is called
    with a message for every training.
    """
    pending = deque(range(len(trainings)))
    failures: list[tuple[int, Exception]] = []
    while pending:
        free = next((each for each in pending if not _is_busy(trainings[each])), None)
        index = pending[0] if free is None else free
        training = trainings[index]
        if free is None:
            log(f"Another process is training {training}: waiting for its result.")
        pending.remove(index)
        run, started, how = finished_run(training.folder), time.perf_counter(), "found in the store"
        if run is None:
            try:
                run = _train_in_new_process(training, waits=free is None, quiet=quiet)
            except Held:
                pending.append(index)
                continue
            except Interrupted:
                raise
            except Exception as error:
                failures.append((index, error))
                log(f"{training}: failed, the other trainings continue. {error}")
                continue
            remaining = sum(trainings[each].seconds for each in pending)
            suffix = f"; about {duration(remaining)} left" if pending else ""
            how = f"trained in {duration(time.perf_counter() - started)}{suffix}"
        log(f"[{len(trainings) - len(pending)}/{len(trainings)}] {training}: {how}")
        yield index, run
    _raise_failures(failures, trainings)


def _is_busy(training: Training) -> bool:
    return finished_run(training.folder) is None and is_held(training.folder)


def _raise_failures(failures: Sequence[tuple[int, Exception]], trainings: Sequence[Training]) -> None:
    if not failures:
        return
    index, first = failures[0]
    if not isinstance(first, UserError) or len(trainings) == 1:
        raise first
    failed = pluralize(len(failures), "training")
    raise UserError(
        f"{failed} of {len(trainings)} failed; the results of the others are saved. {trainings[index]}: {first}"
    ) from first


def _train_in_new_process(training: Training, *, waits: bool, quiet: bool) -> Run:
    """Train in a process that is forked from a server with the libraries imported, or spawned on other systems.

    If another process trains in the folder: raises Held, or if this one `waits`, returns the run of that process, or
    continues it after that process ended without a result.
    """
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "timm"])
    else:
        context = multiprocessing.get_context("spawn")
    recipe = training.job.recipe
    with ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            pool.submit(_train, recipe, training.plan, training.folder, waits=waits, quiet=quiet).result()
        except BrokenProcessPool as error:
            raise UserError(
                f"The training of {training} was killed by the system, probably because memory ran out: use a smaller "
                "batch, image size or model and run the command again. Finished trainings are not repeated."
            ) from error
    return Run(training.folder)


def _end_with_parent() -> None:
    """End this process soon after its parent, even if the parent was killed: a training writes a checkpoint first."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        while True:  # the first signal ends a training after its step, the next one the idle process
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(_SIGNAL_INTERVAL)

    threading.Thread(target=watch, daemon=True).start()


def _train(recipe: Recipe | LinearProbeRecipe, plan: Plan | None, folder: Path, *, waits: bool, quiet: bool) -> None:
    dataset, device = open_dataset(recipe.data, quiet=True), pick_device()
    if isinstance(recipe, LinearProbeRecipe):
        train_linear_probe(resolve_linear_probe(recipe, dataset, device), folder, quiet=quiet)
    else:
        assert plan is not None
        train(resolve(recipe, dataset, device), plan, folder, quiet=quiet, on_wait=_ignore if waits else None)


def _ignore(sentence: str) -> None:
    """The parent process has said it."""
