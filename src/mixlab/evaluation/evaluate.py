"""Evaluate a classifier on a set of images: accuracy, balanced accuracy, macro-F1, and metrics of each class."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mixlab.data.batches import Batch
from mixlab.evaluation.metrics import balanced_accuracy, confusion_matrix, macro_f1, topk_correct
from mixlab.speed.plan import ComputeMode
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import bootstrap_interval, proportion_interval

Predict = Callable[[Batch], Float[Tensor, "image class"]]
"""Maps a batch to logits, on any device."""


@dataclass(frozen=True, slots=True)
class ClassEvaluation:
    """The metrics of one class in per cent.

    images     number of images of the class
    precision  None if the class is never predicted
    recall     None if the class has no images
    f1         None if the class has no images and is never predicted
    """

    name: str
    images: int
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None


@dataclass(frozen=True)
class Evaluation:
    """The predictions of a model and the metrics that follow from them, in per cent with 95 % intervals."""

    classes: tuple[str, ...]
    labels: Int[np.ndarray, " image"]
    probabilities: Float[np.ndarray, "image class"]

    @property
    def predictions(self) -> Int[np.ndarray, " image"]:
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confusion(self) -> Int[np.ndarray, "class class"]:
        return confusion_matrix(self.labels, self.predictions, len(self.classes))

    @property
    def top1(self) -> Estimate:
        return self.topk(1)

    def topk(self, k: int) -> Estimate:
        """The share of images with the true class among the `k` most probable classes."""
        correct = topk_correct(self.probabilities, self.labels, k)
        return proportion_interval(int(correct.sum()), len(correct))

    @property
    def balanced_accuracy(self) -> Estimate:
        return self._bootstrap(balanced_accuracy)

    @property
    def macro_f1(self) -> Estimate:
        return self._bootstrap(macro_f1)

    @property
    def by_class(self) -> list[ClassEvaluation]:
        """The metrics of each class, in the order of `classes`."""
        columns = (np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0))
        return [
            ClassEvaluation(
                name,
                images,
                precision=_share(correct, predicted),
                recall=_share(correct, images),
                f1=_f1(correct, images, predicted),
            )
            for name, correct, images, predicted in zip(
                self.classes, *(column.tolist() for column in columns), strict=True
            )
        ]

    def _bootstrap(self, statistic: Callable[[Int[np.ndarray, "class class"]], float]) -> Estimate:
        def per_cent(labels: Int[np.ndarray, " image"], predictions: Int[np.ndarray, " image"]) -> float:
            return 100 * statistic(confusion_matrix(labels, predictions, len(self.classes)))

        return bootstrap_interval(self.labels, self.predictions, statistic=per_cent, unit="%")


def _share(numerator: int, denominator: int) -> Estimate | None:
    return proportion_interval(numerator, denominator) if denominator else None


def _f1(correct: int, images: int, predicted: int) -> Estimate | None:
    """F1 with an interval.

    Let j be the share of correct images among those that belong to the class or are predicted as it (the Jaccard
    index). Then F1 = 2j / (1 + j), which increases with j, so the ends of the interval of j map to those of F1.
    """
    share = _share(correct, images + predicted - correct)
    if share is None:
        return None
    assert share.low is not None and share.high is not None  # a Wilson interval has both ends
    value, low, high = (200 * j / (100 + j) for j in (share.value, share.low, share.high))
    return replace(share, value=value, low=low, high=high)


def predict_fn(model: nn.Module, device: torch.device, mode: ComputeMode) -> Predict:
    """A function for `evaluate` that runs `model` in evaluation mode and without gradients.

    model   on `device`, in the memory layout of `mode`
    device  the device that the batches are moved to
    mode    precision (autocast) and memory layout
    """
    model.eval()

    @torch.inference_mode()
    def predict(batch: Batch) -> Float[Tensor, "image class"]:
        images, _ = batch.on(device)
        with mode.autocast(device):
            return model(images.contiguous(memory_format=mode.memory_format))

    return predict


def evaluate(predict: Predict, batches: Iterable[Batch], classes: tuple[str, ...]) -> Evaluation:
    """Predict all batches; probabilities are the softmax of the logits in fp32.

    classes  class names, in the order of the logits
    """
    labels, probabilities = [], []
    for batch in batches:
        labels.append(batch.labels.numpy(force=True))
        probabilities.append(predict(batch).float().softmax(dim=1).numpy(force=True))
    return Evaluation(classes, np.concatenate(labels), np.concatenate(probabilities))
