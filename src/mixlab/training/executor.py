"""`Executor`: decides the plans of many trainings, and runs those that are missing.

Processes of this machine are the default (`mixlab.training.runner`). Ray (`mixlab.training.ray_workers`) and lists of
jobs for a scheduler (`mixlab.training.job_list`) take their place within a context:

    with trained_by(JobList(folder)):
        ...                       # plan_trainings and run_all, however deep in a study
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

from mixlab.report.progress import Log
from mixlab.training.job import Job
from mixlab.training.planning.concurrency import Planned
from mixlab.training.training import Training

_DATA_VARIABLES = ("MIXLAB_DATA", "TFDS_DATA_DIR")


def data_variables() -> dict[str, str]:
    """The environment variables that name folders of data, which other machines need too, with absolute paths."""
    return {name: str(Path(folder).resolve()) for name in _DATA_VARIABLES if (folder := os.environ.get(name))}


class Workers(Protocol):
    """Processes that train, on this machine or others. Leaving their context releases them."""

    @property
    def number(self) -> int:
        """The number of trainings that run at the same time."""
        ...

    def start(self, training: Training, *, waits: bool) -> Future[None]:
        """Train in one of the processes.

        The future raises the error of the training, or BrokenExecutor if its process was killed. If another process
        trains in the folder, it raises LeaseHeldError. With `waits`, the worker waits instead: it uses the result of
        the other process, or continues the training if that one ends without a result.
        """
        ...

    def stop(self) -> None:
        """Ask all trainings that run to end after their next checkpoint."""
        ...


class Executor(Protocol):
    """Where trainings run. The plans of one call are the same wherever they run."""

    def plan(self, jobs: Sequence[Job], log: Log, *, seeds: int) -> Planned:
        """The plan of each job, all in one compute mode, and its seconds per step. `seeds`: trainings of each job."""
        ...

    def workers(self, missing: Sequence[Training], total: int) -> AbstractContextManager[Workers]:
        """Workers for the `missing` trainings of `total` ones."""
        ...


_chosen: ContextVar[Executor | None] = ContextVar("executor", default=None)


@contextmanager
def trained_by(executor: Executor) -> Iterator[None]:
    """Within the context, trainings run in `executor` instead of processes of this machine."""
    token = _chosen.set(executor)
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen_executor() -> Executor | None:
    """The executor of `trained_by`, or None outside of its context."""
    return _chosen.get()
