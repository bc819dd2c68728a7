"""Classification: each image has one class.

Axes:  image  images of the batch
       class  logits, or target probabilities: each row of targets sums to 1
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mixlab.data.augmentation.mixing import mix
from mixlab.data.sources import KINDS
from mixlab.tasks.loss import Loss, compute_class_weights, compute_loss, targets_of
from mixlab.tasks.task import Counts, SampleScore, Task


def init_head_bias(head: nn.Module, loss: Loss) -> None:
    """Set the biases of a linear head to `head_bias`, if there is one."""
    if loss.head_bias is not None:
        torch.nn.init.constant_(head.get_parameter("bias"), loss.head_bias)


def correct_counts(logits: Float[Tensor, "image class"], targets: Float[Tensor, "image class"]) -> Counts:
    """Images for which the class with the largest logit is the one with the largest target."""
    return {"correct": (logits.argmax(dim=1) == targets.argmax(dim=1)).sum()}


def train_accuracy(sums: Counts, images: int) -> dict[str, float]:
    """{"top1": per cent}."""
    return {"top1": 100 * int(sums["correct"]) / images}


def score(logits: Float[Tensor, "image class"], labels: Int[Tensor, " image"]) -> tuple[int, int]:
    """The number of correct images, and of all images."""
    return int((logits.argmax(dim=1).cpu() == labels).sum()), len(labels)


def accuracy(scores: Sequence[tuple[int, int]]) -> dict[str, float]:
    """{"top1": per cent}."""
    correct, images = map(sum, zip(*scores, strict=True))
    return {"top1": 100 * correct / images}


def softmax(logits: Float[Tensor, "image class"]) -> Float[Tensor, "image class"]:
    return logits.softmax(dim=1)


def is_correct(predicted: Int[np.ndarray, " image"], labels: Int[np.ndarray, " image"]) -> Bool[np.ndarray, " image"]:
    """Whether the predicted class is the true one."""
    return predicted == labels


CLASSIFICATION = Task(
    name="classification",
    kinds=KINDS,
    losses=("softmax", "sigmoid"),
    on_feature_maps=False,
    new_head=init_head_bias,
    targets=targets_of,
    blank_targets=torch.zeros_like,
    mix=mix,
    class_weights=compute_class_weights,
    loss=compute_loss,
    counts=correct_counts,
    train_metrics=train_accuracy,
    score=score,
    metrics=accuracy,
    fitted=lambda scores: {},
    probabilities=softmax,
    predicted=lambda probabilities, fitted: np.argmax(probabilities, keepdims=True),
    sample_score=SampleScore(
        of=is_correct,
        key="top1",
        title="top-1",
        name="accuracy",
        sentence="It classifies {value} % of the test {noun}s correctly.",
    ),
)
