"""Trainings one after another, each in a process of its own, so that its peak of memory is its own."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from mixlab.data.batches import EvalBatches
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.evaluation.evaluate import evaluate, predict_fn
from mixlab.measure.machine import pick_device
from mixlab.runs.journal import read_journal
from mixlab.runs.store import finished_run
from mixlab.speed.plan import ComputeMode, Plan, prepare_model
from mixlab.training.job import resolve
from mixlab.training.loop import train
from mixlab.training.recipes.schema import Recipe
from mixlab.weights.trained import load_trained


@dataclass(frozen=True)
class Trained:
    """What one training came to, and its answers for the test part."""

    folder: Path
    labels: Int[np.ndarray, " image"]
    probabilities: Float[np.ndarray, "image class"]
    epochs: tuple[dict[str, Any], ...]  # the journal's lines
    training_seconds: float  # on the device, validation and start-up left out
    images: int  # that the steps saw
    peak_bytes: int

    @property
    def correct(self) -> Bool[np.ndarray, " image"]:
        return self.probabilities.argmax(axis=1) == self.labels

    @property
    def top1(self) -> float:
        """Per cent."""
        return 100 * float(self.correct.mean())


class TrainApart(Protocol):
    def __call__(self, recipe: Recipe, plan: Plan, folder: Path, *, quiet: bool) -> Trained: ...


@contextmanager
def processes() -> Iterator[TrainApart]:
    """A function that trains, or finds the finished training, and judges it, each time in a fresh process.

    The processes are forked, where the system can, from one that has loaded the libraries and computed nothing.
    """
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "timm"])
    else:
        context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context, max_tasks_per_child=1) as pool:

        def train_apart(recipe: Recipe, plan: Plan, folder: Path, *, quiet: bool) -> Trained:
            try:
                return pool.submit(_train_and_judge, recipe, plan, folder, quiet=quiet).result()
            except BrokenProcessPool as error:
                raise UserError(
                    f"The training of {recipe.model} with seed {recipe.seed} was killed by the system, most likely for "
                    "want of memory: set a smaller batch or image size, or take a smaller model, and run again; what "
                    "was finished is kept."
                ) from error

        yield train_apart


def _train_and_judge(recipe: Recipe, plan: Plan, folder: Path, *, quiet: bool) -> Trained:
    job = resolve(recipe, open_dataset(recipe.data, quiet=True).merge_validation(), pick_device())
    run = finished_run(folder) or train(job, plan, folder, quiet=quiet)
    model = prepare_model(load_trained(run), job.device, ComputeMode())
    batches = EvalBatches(job.dataset.splits["test"], job.preprocess, batch=plan.micro_batch, quiet=quiet)
    evaluated = evaluate(predict_fn(model, job.device, ComputeMode()), batches, job.dataset.classes)
    (end,) = read_journal(run.journal, "end")
    return Trained(
        folder=folder,
        labels=evaluated.labels,
        probabilities=evaluated.probabilities,
        epochs=tuple(read_journal(run.journal, "epoch")),
        training_seconds=end["training_seconds"],
        images=end["images"],
        peak_bytes=end["peak_bytes"],
    )
