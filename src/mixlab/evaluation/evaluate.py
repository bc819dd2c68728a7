"""How good a model is on images that it was not trained on."""

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
"""From a batch to logits, on whatever device they were computed."""


@dataclass(frozen=True, slots=True)
class ClassEvaluation:
    """One class, in per cent; None where nothing stands behind it: no image of the class, or no answer with it."""

    name: str
    images: int
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None


@dataclass(frozen=True)
class Evaluation:
    """One model's answers, and every figure that follows from them; all are per cent, with 95 % intervals."""

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
        return self.top(1)

    def top(self, among: int) -> Estimate:
        correct = topk_correct(self.probabilities, self.labels, among)
        return proportion_interval(int(correct.sum()), len(correct))

    @property
    def balanced_accuracy(self) -> Estimate:
        return self._over_images(balanced_accuracy)

    @property
    def macro_f1(self) -> Estimate:
        return self._over_images(macro_f1)

    @property
    def by_class(self) -> list[ClassEvaluation]:
        """In the order of `classes`."""
        correct = np.diag(self.confusion)
        there, answered = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return [
            ClassEvaluation(
                name,
                images,
                _share(topk_correct, answers),
                _share(topk_correct, images),
                _f1(topk_correct, images, answers),
            )
            for name, topk_correct, images, answers in zip(
                self.classes, correct.tolist(), there.tolist(), answered.tolist(), strict=True
            )
        ]

    def _over_images(self, statistic: Callable[[Int[np.ndarray, "class class"]], float]) -> Estimate:
        def per_cent(labels: Int[np.ndarray, " image"], predictions: Int[np.ndarray, " image"]) -> float:
            return 100 * statistic(confusion_matrix(labels, predictions, len(self.classes)))

        return bootstrap_interval(self.labels, self.predictions, statistic=per_cent, unit="%")


def _share(numerator: int, denominator: int) -> Estimate | None:
    return proportion_interval(numerator, denominator) if denominator else None


def _f1(correct: int, images: int, answers: int) -> Estimate | None:
    """Of the images that are of the class or were taken for it, a share j is right, and F1 is 2j / (1 + j).

    That grows with j, so the ends of its interval are those of j's.
    """
    share = _share(correct, images + answers - correct)
    if share is None:
        return None
    assert share.low is not None and share.high is not None  # Wilson's interval has ends
    value, low, high = (200 * j / (100 + j) for j in (share.value, share.low, share.high))
    return replace(share, value=value, low=low, high=high)


def predict_fn(model: nn.Module, device: torch.device, mode: ComputeMode) -> Predict:
    """`model`, which is on `device`, as what `evaluate` asks: in evaluation mode and without gradients."""
    model.eval()

    @torch.inference_mode()
    def predict(batch: Batch) -> Float[Tensor, "image class"]:
        images, _ = batch.on(device)
        with mode.autocast(device):
            return model(images.contiguous(memory_format=mode.memory_format))

    return predict


def evaluate(predict: Predict, batches: Iterable[Batch], classes: tuple[str, ...]) -> Evaluation:
    labels, probabilities = [], []
    for batch in batches:
        labels.append(batch.labels.numpy(force=True))
        probabilities.append(predict(batch).float().softmax(dim=1).numpy(force=True))
    return Evaluation(classes, np.concatenate(labels), np.concatenate(probabilities))
