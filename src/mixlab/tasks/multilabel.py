"""Multi-label classification: each image has any number of labels, which are learned independently.

Axes:  image  images of the batch
       label  logits, or targets from 0 to 1
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mixlab.data.augmentation.mixing import mix
from mixlab.data.multilabel_sources import MULTILABEL_KINDS
from mixlab.errors import UserError
from mixlab.tasks.classification import init_head_bias
from mixlab.tasks.loss import Loss, compute_loss, given_class_weights
from mixlab.tasks.multilabel_metrics import (
    DEFAULT_THRESHOLD,
    average_precisions,
    best_thresholds,
    confusion_counts,
    confusion_kinds,
    f1,
)
from mixlab.tasks.task import Counts, SampleScore, Task

Scores = tuple[Float[np.ndarray, "_ label"], Bool[np.ndarray, "_ label"]]
"""Probabilities of a batch, and which labels its images have."""


def targets_of_labels(labels: Bool[Tensor, "image label"], classes: int, loss: Loss) -> Float[Tensor, "image label"]:
    """1 for a label that the image has, else 0. Raises UserError for label smoothing."""
    if loss.label_smoothing:
        raise UserError(
            f"loss.label_smoothing={loss.label_smoothing} distributes the probability of one class over the others, "
            'but with task="multilabel" the labels of an image are independent: remove it.'
        )
    return labels.float()


def label_weights(
    loss: Loss, labels: Bool[np.ndarray, "image label"], classes: tuple[str, ...]
) -> Float[Tensor, " label"] | None:
    """The weights of `loss.class_weights`. Raises UserError for "balanced"."""
    if loss.class_weights == "balanced":
        raise UserError(
            'loss.class_weights="balanced" is for one class per image: with task="multilabel" each label has its own '
            "threshold, so remove it or give one weight per label."
        )
    return given_class_weights(loss, classes)


def decision_counts(logits: Float[Tensor, "image label"], targets: Float[Tensor, "image label"]) -> Counts:
    """Decisions at a probability of 0.5; a target of a mixed image counts as present from 0.5 on."""
    predicted, present = logits > 0, targets >= 0.5
    return {
        "true_positives": (predicted & present).sum(),
        "false_positives": (predicted & ~present).sum(),
        "false_negatives": (~predicted & present).sum(),
    }


def train_f1(sums: Counts, images: int) -> dict[str, float]:
    """{"micro F1": per cent}, at a probability of 0.5."""
    return _micro_f1(*(int(sums[name]) for name in ("true_positives", "false_positives", "false_negatives")))


def score(logits: Float[Tensor, "image label"], labels: Bool[Tensor, "image label"]) -> Scores:
    """The probabilities of all labels, and which are present."""
    return probabilities(logits).numpy(force=True), labels.numpy(force=True)


def validation_metrics(scores: Sequence[Scores]) -> dict[str, float]:
    """{"mAP": per cent, the mean over the labels that occur, "micro F1": per cent, at a probability of 0.5}."""
    predicted, truth = _concatenated(scores)
    occurs = truth.any(axis=0)
    mean = float(average_precisions(predicted[:, occurs], truth[:, occurs]).mean()) if occurs.any() else 0.0
    counts = confusion_counts(predicted > DEFAULT_THRESHOLD, truth).sum(axis=1)
    return {"mAP": 100 * mean} | _micro_f1(*counts.tolist())


def thresholds(scores: Sequence[Scores]) -> dict[str, Any]:
    """{"thresholds": of the labels, each with the highest F1 on these images}."""
    return {"thresholds": best_thresholds(*_concatenated(scores)).tolist()}


def probabilities(logits: Float[Tensor, "image label"]) -> Float[Tensor, "image label"]:
    """The sigmoid, in at least fp32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()


def above_thresholds(
    probabilities: Float[np.ndarray, " label"], fitted: Mapping[str, Any]
) -> Int[np.ndarray, " predicted"]:
    """The labels with at least the probability of their thresholds, or 0.5 without thresholds."""
    order = np.argsort(-probabilities, kind="stable")
    return order[(probabilities >= np.array(fitted.get("thresholds", DEFAULT_THRESHOLD)))[order]]


def f1_of_images(
    predicted: Bool[np.ndarray, "image label"], truth: Bool[np.ndarray, "image label"]
) -> Float[np.ndarray, " image"]:
    """F1 of the labels of each image; 1 if it has no labels and none is predicted."""
    values = f1(*confusion_kinds(predicted, truth).sum(axis=2))
    return np.where(np.isnan(values), 1.0, values)


def _concatenated(scores: Sequence[Scores]) -> Scores:
    predicted, truth = zip(*scores, strict=True)
    return np.concatenate(predicted), np.concatenate(truth)


def _micro_f1(true_positives: int, false_positives: int, false_negatives: int) -> dict[str, float]:
    total = 2 * true_positives + false_positives + false_negatives
    return {"micro F1": 100 * 2 * true_positives / total if total else 0.0}


MULTILABEL = Task(
    name="multilabel",
    kinds=MULTILABEL_KINDS,
    losses=("sigmoid",),
    on_feature_maps=False,
    new_head=init_head_bias,
    targets=targets_of_labels,
    blank_targets=torch.zeros_like,
    mix=mix,
    class_weights=label_weights,
    loss=compute_loss,
    counts=decision_counts,
    train_metrics=train_f1,
    score=score,
    metrics=validation_metrics,
    fitted=thresholds,
    probabilities=probabilities,
    predicted=above_thresholds,
    sample_score=SampleScore(
        of=f1_of_images,
        key="image_f1",
        title="image F1",
        name="image F1",
        sentence="Its mean image F1 on the test images is {value} %.",
        meaning="Image F1: F1 of the labels of an image, which are predicted from a probability of 0.5 on; 1 if there "
        "are none and none is predicted.",
    ),
)
