"""A finished training of a comparison: its predictions for the test split, and its cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32

from mixlab.data.dataset import Dataset
from mixlab.evaluation.evaluate import Evaluated, Receive, evaluate
from mixlab.evaluation.evaluation import Evaluation
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.speed.inference import Inference
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
    evaluated = _evaluate(run, dataset, device)
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


def predicted_probabilities(run: Run, dataset: Dataset, device: torch.device) -> Float32[np.ndarray, "image class"]:
    """The probabilities that a finished run predicts for the test split of `dataset`, in fp32."""
    parts: list[Float32[np.ndarray, "image class"]] = []
    _evaluate(run, dataset, device, lambda logits, _: parts.append(logits.float().softmax(dim=1).numpy(force=True)))
    return np.concatenate(parts)


def _evaluate(run: Run, dataset: Dataset, device: torch.device, receive: Receive | None = None) -> Evaluated:
    pretrained = load_pretrained(run.path)
    return evaluate(
        Inference(build_with_weights(pretrained.weights), device),
        dataset.splits["test"],
        pretrained.preprocess,
        dataset.classes,
        batch=run.plan["micro_batch"],
        receive=receive,
    )
