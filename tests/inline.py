"""Trainings of the runner, in separate processes or in that of the test, which saves the start of processes."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from mixlab.runs.folder import Run
from mixlab.training import runner
from mixlab.training.runner import run_all
from mixlab.training.training import Training

Start = Callable[..., Future[None]]

silent: Callable[[str], None] = [].append  # messages are discarded


def train_inline(training: Training, *, waits: bool) -> Future[None]:
    """Replaces `runner._start`."""
    future: Future[None] = Future()
    try:
        runner.train_recipe(training.job.recipe, training.plan, training.folder, waits=waits)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(None)
    return future


def trained(trainings: Sequence[Training]) -> dict[int, Run]:
    return dict(run_all(trainings, log=silent, quiet=True))


def two_at_a_time(trainings: Sequence[Training]) -> list[Training]:
    together = []
    for training in trainings:
        assert training.plan is not None
        together.append(replace(training, plan=replace(training.plan, concurrent=2, threads=1)))
    return together
