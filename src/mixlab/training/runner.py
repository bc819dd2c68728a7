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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import torch

from mixlab.data.dataset import Dataset
from mixlab.errors import Interrupted, UserError
from mixlab.measure.machine import pick_device
from mixlab.report.numbers import duration
from mixlab.report.progress import Log
from mixlab.report.progress import progress as progress_bar
from mixlab.report.text import pluralize
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.runs.lease import LeaseHeldError, is_held
from mixlab.runs.store import finished_run
from mixlab.speed.plan import Plan
from mixlab.training.executor import Executor, Workers, chosen_executor
from mixlab.training.job import Job, resolve
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.linear_probe.train import resolve_linear_probe, train_linear_probe
from mixlab.training.loop import train
from mixlab.training.planning.concurrency import Planned, select_concurrent_plans
from mixlab.training.planning.stored_plans import local_plans
from mixlab.training.processes import process_pool
from mixlab.training.recipe_data import open_data
from mixlab.training.recipes.schema import Recipe
from mixlab.training.signals import StopSignals
from mixlab.training.training import Training

_POLL = 2.0
"""Seconds between two updates of the progress bar."""

_RESUMED_BY = (
    ". Finished trainings and the checkpoints of the others are stored: run the same command again to continue."
)


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
    plans = iter(select_plans(with_steps, log) if with_steps else ())
    return [Training(job, *next(plans)) if isinstance(job, Job) else Training(job) for job in jobs]


def select_plans(jobs: Sequence[Job], log: Log, *, seeds: int = 1) -> Planned:
    """The plan of each job and its seconds per step, all in one compute mode. `seeds`: number of trainings of a job."""
    return _executor().plan(jobs, log, seeds=seeds)


def run_all(trainings: Sequence[Training], *, log: Log, quiet: bool) -> Iterator[tuple[int, Run]]:
    """Yield (index in `trainings`, finished run) for every training, in the order in which they finish.

    If one fails, the others continue, and the first error is raised after the last training. After an interruption,
    the finished runs and the checkpoints are in the store, and the same call continues. `log` is called with a message
    for every training; `quiet` shows no progress bar.
    """
    number = count(1)

    def done(index: int, how: str) -> tuple[int, Run]:
        log(f"[{next(number)}/{len(trainings)}] {trainings[index]}: {how}")
        return index, Run(trainings[index].folder)

    pending = deque(index for index, training in enumerate(trainings) if finished_run(training.folder) is None)
    missing = [trainings[index] for index in pending]
    opened = _executor().workers(missing, len(trainings)) if missing else None
    for index in sorted({*range(len(trainings))} - {*pending}):
        yield done(index, "found in the store")
    if opened is None:
        return

    running: dict[Future[None], _Running] = {}
    failures: list[tuple[int, Exception]] = []
    total, shown = sum(training.steps for training in missing), 0
    with (
        opened as workers,
        StopSignals() as signals,
        _stopping(running, workers),
        progress_bar(pluralize(len(pending), "training"), total, quiet=quiet) as advance,
    ):
        while pending or running:
            while pending and len(running) < workers.number:
                index, waits = _take_next(pending, trainings, log)
                running[workers.start(trainings[index], waits=waits)] = _Running(index, trainings[index])
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
                    suffix = f"; about {duration(left / workers.number)} left" if pending or running else ""
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
def _stopping(running: Mapping[Future[None], _Running], workers: Workers) -> Iterator[None]:
    """On an error or an interruption, stop the running trainings after their next checkpoint.

    Ctrl-C also reaches the processes of the trainings: their exceptions become one that says how to continue them all.
    """
    try:
        yield
    except BaseException as error:
        workers.stop()
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
    except BrokenExecutor as error:
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


@dataclass(frozen=True)
class LocalProcesses:
    """The default executor: each training in a process of this machine, as many at a time as the plans say.

    plans  where plans are looked up and stored, `local_plans` or `plans_without_storing`
    """

    plans: Callable[[str, Sequence[Job], Callable[[], Planned], Log], Planned] = local_plans

    def plan(self, jobs: Sequence[Job], log: Log, *, seeds: int) -> Planned:
        return self.plans("concurrent", jobs, partial(select_concurrent_plans, jobs, log, seeds=seeds), log)

    @contextmanager
    def workers(self, missing: Sequence[Training], total: int) -> Iterator["LocalWorkers"]:
        yield LocalWorkers(max(training.concurrent for training in missing))


@dataclass(frozen=True)
class LocalWorkers:
    """`number` processes of this machine at a time."""

    number: int

    def start(self, training: Training, *, waits: bool) -> Future[None]:
        return _start(training, waits=waits)

    def stop(self) -> None:
        for process in multiprocessing.active_children():
            process.terminate()


def _executor() -> Executor:
    return chosen_executor() or LocalProcesses()


def _start(training: Training, *, waits: bool) -> Future[None]:
    """Train in a new process."""
    pool = process_pool(1)
    future = pool.submit(train_recipe, training.job.recipe, training.plan, training.folder, waits=waits)
    pool.shutdown(wait=False)  # the process ends after this training
    return future


def train_recipe(recipe: Recipe | LinearProbeRecipe, plan: Plan | None, folder: Path, *, waits: bool) -> None:
    """Train in this process. Errors and `waits` are those of `Workers.start`. `plan` is None for a linear probe."""
    dataset, device, on_wait = open_data(recipe), pick_device(), _ignore if waits else None
    if finished_run(folder) is not None:  # by another process, since the parent process looked
        return
    if isinstance(recipe, LinearProbeRecipe):
        train_linear_probe(resolve_linear_probe(recipe, dataset, device), folder, quiet=True, on_wait=on_wait)
    else:
        assert plan is not None
        train(resolve(recipe, dataset, device), plan, folder, quiet=True, on_wait=on_wait)


def _ignore(sentence: str) -> None:
    """Log nothing: the parent process has already logged that it waits."""
