"""What an evaluation keeps of each image. Its size does not depend on the number of classes.

    evaluation = Evaluation.concat([score(logits, labels, classes) for logits, labels in batches])

The metrics are functions of an Evaluation, in `mixlab.evaluation.metrics` and `mixlab.evaluation.calibration`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from scipy.sparse import csr_array
from torch import Tensor

from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval

ARRAYS = ("labels", "predictions", "ranks", "confidences", "nll", "brier")
"""The fields of an Evaluation with one value per image, in their order."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The predictions of a model for images with known labels.

    classes      class names, in the order of the logits
    predictions  indices of the most probable classes; of several, the first one
    ranks        of the true class among all classes, from 0 for the most probable; ties are ordered by class index
    confidences  the probability of the predicted class, from 0 to 1
    nll          the negative logarithm of the probability of the true class, in nats
    brier        the squared distance of the probabilities from the one-hot label, from 0 to 2 (Brier 1950)
    """

    classes: tuple[str, ...]
    labels: Int64[np.ndarray, " image"]
    predictions: Int64[np.ndarray, " image"]
    ranks: Int64[np.ndarray, " image"]
    confidences: Float32[np.ndarray, " image"]
    nll: Float32[np.ndarray, " image"]
    brier: Float32[np.ndarray, " image"]

    @staticmethod
    def concat(parts: "Sequence[Evaluation]") -> "Evaluation":
        """The images of all parts, in order."""
        return Evaluation(
            parts[0].classes, *(np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS)
        )

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, selected: Bool[np.ndarray, " image"] | Int64[np.ndarray, " selected"]) -> "Evaluation":
        return Evaluation(self.classes, *(getattr(self, name)[selected] for name in ARRAYS))

    @property
    def correct(self) -> Bool[np.ndarray, " image"]:
        return self.predictions == self.labels

    @property
    def top1(self) -> Estimate:
        """The accuracy in per cent, with a 95 % interval over images."""
        return proportion_interval(int(self.correct.sum()), len(self))

    @cached_property
    def confusion(self) -> csr_array:
        """Counts of images: one row for each true class, one column for each predicted class."""
        return confusion_matrix(self.labels, self.predictions, len(self.classes))


class EvaluationBuffer:
    """Collects the evaluations of batches.

        buffer = EvaluationBuffer(classes, images)
        for logits, labels in batches:
            buffer.add(logits, labels)
        buffer.evaluation

    images  the largest number of images

    The arrays are allocated before the first batch. Small arrays that are kept between the large temporary ones of the
    batches would prevent the C library from using freed memory again: 50,000 images with 21,843 classes took 10 GB.
    """

    def __init__(self, classes: tuple[str, ...], images: int):
        indices, values = ([np.empty(images, dtype) for _ in range(3)] for dtype in (np.int64, np.float32))
        self._buffer = Evaluation(classes, *indices, *values)
        self._images = 0

    def add(self, logits: Float[Tensor, "image class"], labels: Int64[Tensor, " image"]) -> None:
        """Add the images of a batch."""
        added = score(logits, labels, self._buffer.classes)
        place = slice(self._images, self._images + len(added))
        for name in ARRAYS:
            getattr(self._buffer, name)[place] = getattr(added, name)
        self._images += len(added)

    @property
    def evaluation(self) -> Evaluation:
        """The images that were added so far."""
        return Evaluation(self._buffer.classes, *(getattr(self._buffer, name)[: self._images] for name in ARRAYS))


def score(
    logits: Float[Tensor, "image class"], labels: Int64[Tensor, " image"], classes: tuple[str, ...]
) -> Evaluation:
    """The evaluation of one batch. Probabilities are the softmax of the logits, in fp32 on the logits' device."""
    labels = labels.to(logits.device)
    log_probabilities = logits.float().log_softmax(dim=1)
    of_label = log_probabilities.gather(1, labels[:, None])
    before_label = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    ranks = ((log_probabilities > of_label) | ((log_probabilities == of_label) & before_label)).sum(dim=1)
    best, predictions = log_probabilities.max(dim=1)
    probability, squares = of_label[:, 0].exp(), log_probabilities.mul(2).exp().sum(dim=1)
    arrays = (labels, predictions, ranks, best.exp(), -of_label[:, 0], squares - 2 * probability + 1)
    return Evaluation(classes, *(array.numpy(force=True) for array in arrays))


def confusion_matrix(
    labels: Int64[np.ndarray, " image"], predictions: Int64[np.ndarray, " image"], classes: int
) -> csr_array:
    """Counts of images as a sparse matrix: one row for each true class, one column for each predicted class."""
    counts = csr_array((np.ones(len(labels), np.int64), (labels, predictions)), shape=(classes, classes))
    counts.sum_duplicates()
    return counts
