"""A finished training of a comparison: its predictions for the test split, and its cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from mixlab.data.dataset import Dataset
from mixlab.evaluation.evaluate import evaluate
from mixlab.evaluation.evaluation import Evaluation
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.weights.load import build_with_weights, load_pretrained


@dataclass(frozen=True)
class Trained:
    folder: Path
    evaluation: Evaluation
    epochs: tuple[dict[str, Any], ...]  # lines of the journal
    training_seconds: float  # of the steps, without validation and start-up
    images: int  # of all steps
    peak_bytes: int

    @property
    def correct(self) -> Bool[np.ndarray, " image"]:
        return self.evaluation.correct

    @property
    def top1(self) -> float:
        """Accuracy in per cent."""
        return 100 * float(self.correct.mean())


def evaluate_training(run: Run, dataset: Dataset, device: torch.device) -> Trained:
    """Evaluate a finished run on the test split of `dataset`, in fp32."""
    pretrained = load_pretrained(run.path)
    model = build_with_weights(pretrained.weights)
    evaluated = evaluate(
        model,
        dataset.splits["test"],
        pretrained.preprocess,
        dataset.classes,
        device,
        batch=run.plan["micro_batch"],
    )
    history = read_history(run.journal)
    assert history.end is not None  # the run is finished
    return Trained(
        folder=run.path,
        evaluation=evaluated.evaluation,
        epochs=tuple(history.epochs),
        training_seconds=history.end["training_seconds"],
        images=history.end["images"],
        peak_bytes=history.end["peak_bytes"],
    )
