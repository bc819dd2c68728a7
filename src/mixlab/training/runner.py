"""Runs many trainings: finished ones are taken from the store, the others are trained, each in its own process.

    trainings = plan_trainings(recipes, dataset, device, log)
    for index, run in run_all(trainings, log=log, quiet=False):
        ...                       # `run` is the finished run of recipes[index]

As many trainings run at the same time as are fastest on the machine. Separate processes make the peak memory of each
training measurable, and a crash does not affect other trainings. A training that another process is already running
comes last, and the result of that process is used.
"""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path

import torch

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.errors import Interrupted, UserError
from mixlab.measure.machine import pick_device
from mixlab.report.numbers import duration
from mixlab.report.progress import progress as progress_bar
from mixlab.report.text import pluralize
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.runs.lease import LeaseHeldError, is_held
from mixlab.runs.store import finished_run
from mixlab.speed.plan import Plan
from mixlab.training.job import Job, resolve
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.linear_probe.train import LinearProbeJob, resolve_linear_probe, train_linear_probe
from mixlab.training.loop import train
from mixlab.training.planning.autotune import total_steps
from mixlab.training.planning.concurrency import select_concurrent_plans
from mixlab.training.processes import process_pool
from mixlab.training.recipes.schema import Recipe
from mixlab.training.signals import StopSignals

Log = Callable[[str], None]

_POLL = 2.0
"""Seconds between two updates of the progress bar."""

_RESUMED_BY = (
    ". Finished trainings and the checkpoints of the others are stored: run the same command again to continue."
)

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

    @cached_property
    def steps(self) -> int:
        """The number of steps; 0 for a linear probe."""
        return total_steps(self.job) if isinstance(self.job, Job) else 0

    @property
    def concurrent(self) -> int:
        """The number of trainings that run at the same time."""
        return 1 if self.plan is None else self.plan.concurrent

    @property
    def seconds(self) -> float:
        """Estimated seconds of the training. A linear probe counts with its start-up only."""
        return STARTUP_SECONDS + self.steps * (self.seconds_per_step or 0.0)

    def __str__(self) -> str:
        recipe = self.job.recipe
        left_out = recipe.subset.left_out_fold if isinstance(recipe, Recipe) and recipe.subset else None
        fold = "" if left_out is None else f", without fold {left_out}"
        return f"{recipe.model}, seed {recipe.seed}{fold}"


def estimated_seconds(trainings: Iterable[Training]) -> float:
    """Estimated seconds of all trainings, with as many at the same time as their plans say."""
    return sum(training.seconds / training.concurrent for training in trainings)


def plan_trainings(
    recipes: Sequence[Recipe | LinearProbeRecipe], dataset: Dataset, device: torch.device, log: Log
) -> list[Training]:
    """Resolve the recipes, and select one compute mode for all of them and how many run at the same time.

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
    plans = iter(select_concurrent_plans(with_steps, log) if with_steps else ())
    return [Training(job, *next(plans)) if isinstance(job, Job) else Training(job) for job in jobs]


def run_all(trainings: Sequence[Training], *, log: Log, quiet: bool) -> Iterator[tuple[int, Run]]:
    """Yield (index in `trainings`, finished run) for every training, in the order in which they finish.

    The plans determine how many trainings run at the same time. If one fails, the others continue, and the first error
    is raised after the last training. After an interruption, the finished runs and the checkpoints are in the store,
    and the same call continues. `log` is called with a message for every training; `quiet` shows no progress bar.
    """
    number, pending = count(1), deque[int]()

    def done(index: int, how: str) -> tuple[int, Run]:
        log(f"[{next(number)}/{len(trainings)}] {trainings[index]}: {how}")
        return index, Run(trainings[index].folder)

    for index, training in enumerate(trainings):
        if finished_run(training.folder) is None:
            pending.append(index)
        else:
            yield done(index, "found in the store")
    if not pending:
        return

    running: dict[Future[None], _Running] = {}
    failures: list[tuple[int, Exception]] = []
    concurrent = max(trainings[index].concurrent for index in pending)
    total, shown = sum(trainings[index].steps for index in pending), 0
    with (
        StopSignals() as signals,
        _stopping(running),
        progress_bar(pluralize(len(pending), "training"), total, quiet=quiet) as advance,
    ):
        while pending or running:
            while pending and len(running) < concurrent:
                index, waits = _take_next(pending, trainings, log)
                running[_start(trainings[index], waits=waits)] = _Running(index, trainings[index])
            finished, _ = wait(running, timeout=_POLL, return_when=FIRST_COMPLETED)
            for future in finished:
                ended = running.pop(future)
                try:
                    _raise_error(future, ended.training)
                except LeaseHeldError:
                    pending.append(ended.index)
                except Interrupted:
                    raise
                except Exception as error:
                    failures.append((ended.index, error))
                    log(f"{ended.training}: failed, the other trainings continue. {error}")
                else:
                    left = sum(trainings[index].seconds for index in pending)
                    left += sum(other.seconds_left for other in running.values())
                    suffix = f"; about {duration(left / concurrent)} left" if pending or running else ""
                    yield done(ended.index, f"trained in {duration(ended.seconds)}{suffix}")
            step = total - sum(trainings[index].steps for index in pending)
            step -= sum(other.training.steps - other.step for other in running.values())
            advance(step - shown, ", ".join(str(other.training) for other in running.values()))
            shown = step
            if signals.received is not None:
                raise Interrupted(signals.received, _RESUMED_BY)
    _raise_failures(failures, trainings)


@dataclass(frozen=True)
class _Running:
    index: int
    training: Training
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def seconds_left(self) -> float:
        """The estimated remaining seconds."""
        return max(0.0, self.training.seconds - self.seconds)

    @property
    def step(self) -> int:
        """The last step in the journal."""
        return read_history(Run(self.training.folder).journal).step


def _take_next(pending: deque[int], trainings: Sequence[Training], log: Log) -> tuple[int, bool]:
    """The next training, and whether another process trains it, so that this process has to wait for the result."""
    free = next((index for index in pending if not is_held(trainings[index].folder)), None)
    index = pending[0] if free is None else free
    if free is None:
        log(f"Another process is training {trainings[index]}: waiting for its result.")
    pending.remove(index)
    return index, free is None


@contextmanager
def _stopping(running: Mapping[Future[None], _Running]) -> Iterator[None]:
    """On an error or an interruption, stop the running trainings after their next checkpoint.

    Ctrl-C also reaches the processes of the trainings: their exceptions become one that says how to continue them all.
    """
    try:
        yield
    except BaseException as error:
        for process in multiprocessing.active_children():
            process.terminate()
        wait(running)
        match error:
            case Interrupted():
                raise Interrupted(error.signal, _RESUMED_BY) from error
            case KeyboardInterrupt():
                raise Interrupted("SIGINT", _RESUMED_BY) from error
        raise


def _raise_error(future: Future[None], training: Training) -> None:
    try:
        future.result()
    except BrokenProcessPool as error:
        raise UserError(
            f"The training of {training} was killed by the system, probably because memory ran out: use a smaller "
            "batch, image size or model and run the command again. Finished trainings are not repeated."
        ) from error


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


def _start(training: Training, *, waits: bool) -> Future[None]:
    """Train in a new process.

    If another process trains in the folder, the future raises LeaseHeldError. With `waits`, the new process waits
    instead: it uses the result of the other process, or continues the training if that one ends without a result.
    """
    pool = process_pool(1)
    future = pool.submit(_train, training.job.recipe, training.plan, training.folder, waits=waits)
    pool.shutdown(wait=False)  # the process ends after this training
    return future


def _train(recipe: Recipe | LinearProbeRecipe, plan: Plan | None, folder: Path, *, waits: bool) -> None:
    dataset, device = open_dataset(recipe.data, quiet=True), pick_device()
    if isinstance(recipe, LinearProbeRecipe):
        train_linear_probe(resolve_linear_probe(recipe, dataset, device), folder, quiet=True)
    else:
        assert plan is not None
        train(resolve(recipe, dataset, device), plan, folder, quiet=True, on_wait=_ignore if waits else None)


def _ignore(sentence: str) -> None:
    """Log nothing: the parent process has already logged that it waits."""
