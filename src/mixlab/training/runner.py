"""Many trainings: finished ones are found in the store, the others are trained, each in a process of its own.

    trainings = plan_trainings(recipes, dataset, device, log)
    for place, run in run_all(trainings, log=log, quiet=False):
        ...                       # recipes[place] is trained: run

A process of its own keeps a training's peak of memory apart, and a crash from the others. What another process is
training already is taken last, and its result is used.
"""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
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

_STARTUP = 2.0  # seconds of a training beside its steps: the process, the data, the last checkpoint


@dataclass(frozen=True)
class Training:
    """`plan` and `seconds_per_step` are None for a linear probe."""

    job: Job | LinearProbeJob
    plan: Plan | None = None
    seconds_per_step: float | None = None

    @cached_property
    def folder(self) -> Path:
        """In the store."""
        return self.job.folder(self.plan) if isinstance(self.job, Job) else self.job.folder()

    @property
    def seconds(self) -> float:
        """Estimated; a linear probe counts as its start-up alone."""
        if not isinstance(self.job, Job) or self.seconds_per_step is None:
            return _STARTUP
        steps = self.job.steps(steps_per_epoch(len(self.job.dataset.splits["train"]), self.job.batch))
        return _STARTUP + steps * self.seconds_per_step

    def __str__(self) -> str:
        recipe = self.job.recipe
        return f"{recipe.model}, seed {recipe.seed}"


def plan_trainings(
    recipes: Sequence[Recipe | LinearProbeRecipe], dataset: Dataset, device: torch.device, log: Log
) -> list[Training]:
    """Resolve the recipes on `dataset`, and give all trainings with steps one compute mode.

    `dataset`: as `open_dataset` returns the data that every recipe names. Raises UserError.
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
    """Yield the place of a training in `trainings` and its finished run, as they finish.

    A failure keeps the other trainings: it is raised after the last one. An interruption keeps what is finished and the
    checkpoints of what is not, in the store: the same call continues. `log` gets a line for every training.
    """
    waiting = deque(range(len(trainings)))
    failures: list[tuple[int, Exception]] = []
    while waiting:
        free = next((each for each in waiting if not _is_busy(trainings[each])), None)
        place = waiting[0] if free is None else free
        training = trainings[place]
        if free is None:
            log(f"Another process is training {training}: waiting for its result.")
        waiting.remove(place)
        run, started, how = finished_run(training.folder), time.perf_counter(), "found in the store"
        if run is None:
            try:
                run = _train_apart(training, waits=free is None, quiet=quiet)
            except Held:
                waiting.append(place)
                continue
            except Interrupted:
                raise
            except Exception as error:
                failures.append((place, error))
                log(f"{training}: failed, the other trainings continue. {error}")
                continue
            left = sum(trainings[each].seconds for each in waiting)
            after = f"; about {duration(left)} left" if waiting else ""
            how = f"trained in {duration(time.perf_counter() - started)}{after}"
        log(f"[{len(trainings) - len(waiting)}/{len(trainings)}] {training}: {how}")
        yield place, run
    _raise_failures(failures, trainings)


def _is_busy(training: Training) -> bool:
    return finished_run(training.folder) is None and is_held(training.folder)


def _raise_failures(failures: Sequence[tuple[int, Exception]], trainings: Sequence[Training]) -> None:
    if not failures:
        return
    place, first = failures[0]
    if not isinstance(first, UserError) or len(trainings) == 1:
        raise first
    counted = pluralize(len(failures), "training")
    raise UserError(
        f"{counted} of {len(trainings)} failed, and the others are kept. {trainings[place]}: {first}"
    ) from first


def _train_apart(training: Training, *, waits: bool, quiet: bool) -> Run:
    """The process is forked, where the system can, from one that has imported the libraries and computed nothing.

    Where another process trains in the folder: raises Held, or where it `waits`, returns that process's run; one that
    has ended without a result is continued.
    """
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "timm"])
    else:
        context = multiprocessing.get_context("spawn")
    recipe = training.job.recipe
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        try:
            pool.submit(_train, recipe, training.plan, training.folder, waits=waits, quiet=quiet).result()
        except BrokenProcessPool as error:
            raise UserError(
                f"The training of {training} was killed by the system, most likely because memory ran out: set a "
                "smaller batch or image size, or take a smaller model, and run again; finished trainings are kept."
            ) from error
    return Run(training.folder)


def _train(recipe: Recipe | LinearProbeRecipe, plan: Plan | None, folder: Path, *, waits: bool, quiet: bool) -> None:
    dataset, device = open_dataset(recipe.data, quiet=True), pick_device()
    if isinstance(recipe, LinearProbeRecipe):
        train_linear_probe(resolve_linear_probe(recipe, dataset, device), folder, quiet=quiet)
    else:
        assert plan is not None
        train(resolve(recipe, dataset, device), plan, folder, quiet=quiet, on_wait=_ignore if waits else None)


def _ignore(sentence: str) -> None:
    """The parent process has said it."""
