"""A finished training of a comparison: its answers for the test split, and its cost."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from mixlab.data.dataset import Dataset
from mixlab.evaluation.evaluate import Evaluated, Receive, evaluate
from mixlab.evaluation.evaluation import Evaluation
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.speed.inference import Inference
from mixlab.tasks.classification import CLASSIFICATION
from mixlab.weights.load import build_with_weights, load_pretrained

Scores = Bool[np.ndarray, " image"] | Float[np.ndarray, " image"]
"""The score of each test sample, from 0 to 1."""

Answers = Callable[[Run, Dataset, torch.device], tuple[Any, Scores]]
"""(finished run, data, device) -> its answers for the test samples, and their scores."""


@dataclass(frozen=True)
class Trained:
    """A finished training with its answers.

    evaluation        the answers for the test samples, of a type of the task
    scores            of the test samples
    epochs            lines of the journal
    training_seconds  of the steps, without validation and start-up
    images            of all steps
    """

    folder: Path
    evaluation: Any
    scores: Scores
    epochs: tuple[dict[str, Any], ...]
    training_seconds: float
    images: int
    peak_bytes: int

    @property
    def mean_score(self) -> float:
        """In per cent."""
        return 100 * float(self.scores.mean())


def classify(run: Run, dataset: Dataset, device: torch.device) -> tuple[Evaluation, Scores]:
    """The `Answers` of a classifier, in fp32."""
    evaluation = _evaluate(run, dataset, device).evaluation
    return evaluation, CLASSIFICATION.sample_score.of(evaluation.predictions, evaluation.labels)


def evaluate_training(run: Run, dataset: Dataset, device: torch.device, answers: Answers = classify) -> Trained:
    """Evaluate a finished run on the test split of `dataset`."""
    evaluation, scores = answers(run, dataset, device)
    history = read_history(run.journal)
    assert history.end is not None  # the run is finished
    return Trained(
        folder=run.path,
        evaluation=evaluation,
        scores=scores,
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
