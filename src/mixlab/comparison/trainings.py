"""A finished training of a comparison: its predictions for the test split, and its cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from mixlab.data.batches import EvalBatches
from mixlab.data.dataset import Dataset
from mixlab.evaluation.evaluate import evaluate, predict_fn
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.speed.plan import ComputeMode, prepare_model
from mixlab.weights.load import build_with_weights, load_pretrained


@dataclass(frozen=True)
class Trained:
    folder: Path
    labels: Int[np.ndarray, " image"]
    probabilities: Float[np.ndarray, "image class"]
    epochs: tuple[dict[str, Any], ...]  # lines of the journal
    training_seconds: float  # of the steps, without validation and start-up
    images: int  # of all steps
    peak_bytes: int

    @property
    def correct(self) -> Bool[np.ndarray, " image"]:
        return self.probabilities.argmax(axis=1) == self.labels

    @property
    def top1(self) -> float:
        """Accuracy in per cent."""
        return 100 * float(self.correct.mean())


def evaluate_training(run: Run, dataset: Dataset, device: torch.device) -> Trained:
    """Evaluate a finished run on the test split of `dataset`, in fp32."""
    pretrained, mode = load_pretrained(run.path), ComputeMode()
    model = prepare_model(build_with_weights(pretrained.weights), device, mode)
    batches = EvalBatches(dataset.splits["test"], pretrained.preprocess, batch=run.plan["micro_batch"], quiet=True)
    evaluation = evaluate(predict_fn(model, device, mode), batches, dataset.classes)
    history = read_history(run.journal)
    assert history.end is not None  # the run is finished
    return Trained(
        folder=run.path,
        labels=evaluation.labels,
        probabilities=evaluation.probabilities,
        epochs=tuple(history.epochs),
        training_seconds=history.end["training_seconds"],
        images=history.end["images"],
        peak_bytes=history.end["peak_bytes"],
    )
