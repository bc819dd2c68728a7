"""Metrics of an evaluation with several labels per image, with bootstrap intervals over images.

Axes:  image, label  of the evaluation
       resample      bootstrap resamples of the images
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from mixlab.stats.bootstrap import percentile_interval, resample_counts
from mixlab.stats.estimate import Estimate
from mixlab.stats.undefined import mean_of_defined
from mixlab.tasks.multilabel_metrics import average_precision, average_precisions, confusion_counts, confusion_kinds, f1

RESAMPLES = 1000
_BLOCK = 2**22  # images of resamples in memory at the same time

METRICS: Mapping[str, tuple[str, str]] = {
    "mAP": ("mAP", "the mean over the labels of the area under precision against recall."),
    "micro_f1": ("micro-F1", "F1 of all decisions together, so that frequent labels count most."),
    "macro_f1": ("macro-F1", "the mean of the F1 of all labels."),
}
"""Key -> title and meaning."""


@dataclass(frozen=True, eq=False)
class LabelMetrics:
    """The metrics of one label in per cent; an undefined one is None."""

    name: str
    images: int
    predicted: int
    threshold: float
    average_precision: Estimate | None
    precision: float | None
    recall: float | None
    f1: Estimate | None


@dataclass(frozen=True, eq=False)
class MultilabelScores:
    """The probabilities of all labels for images with known labels.

    thresholds  a label is predicted from this probability on
    """

    classes: tuple[str, ...]
    probabilities: Float[np.ndarray, "image label"]
    truth: Bool[np.ndarray, "image label"]
    thresholds: Float[np.ndarray, " label"]

    @property
    def predicted(self) -> Bool[np.ndarray, "image label"]:
        return self.probabilities >= self.thresholds

    @cached_property
    def summary(self) -> dict[str, Estimate]:
        """The metrics of `METRICS`. The mAP is over the labels that occur, macro-F1 also over those that are predicted.

        Resamples without a label leave it out.
        """
        occurs = self.truth.any(axis=0)
        counts = confusion_counts(self.predicted, self.truth)
        values = {
            "mAP": mean_of_defined(average_precisions(self.probabilities, self.truth)[occurs]),
            "micro_f1": mean_of_defined(f1(*counts.sum(axis=1))),
            "macro_f1": mean_of_defined(f1(*counts)),
        }
        resampled = {
            "mAP": mean_of_defined(self._resampled_precisions[occurs], axis=0),
            "micro_f1": f1(*self._resampled_counts.sum(axis=2)),
            "macro_f1": mean_of_defined(f1(*self._resampled_counts), axis=1),
        }
        images = len(self.truth)
        return {key: percentile_interval(100 * float(values[key]), 100 * resampled[key], images, "%") for key in values}

    def by_label(self) -> list[LabelMetrics]:
        """The metrics of each label, in the order of the labels."""
        precisions, images = average_precisions(self.probabilities, self.truth), len(self.truth)
        rows = []
        for index, (tp, fp, fn) in enumerate(confusion_counts(self.predicted, self.truth).T.tolist()):
            f1_values = f1(*self._resampled_counts[:, :, index])
            rows.append(
                LabelMetrics(
                    self.classes[index],
                    images=tp + fn,
                    predicted=tp + fp,
                    threshold=float(self.thresholds[index]),
                    average_precision=percentile_interval(
                        100 * precisions[index], 100 * self._resampled_precisions[index], images, "%"
                    )
                    if tp + fn
                    else None,
                    precision=100 * tp / (tp + fp) if tp + fp else None,
                    recall=100 * tp / (tp + fn) if tp + fn else None,
                    f1=percentile_interval(200 * tp / (2 * tp + fp + fn), 100 * f1_values, images, "%")
                    if tp + fp + fn
                    else None,
                )
            )
        return rows

    @property
    def _resampled_precisions(self) -> Float[np.ndarray, "label resample"]:
        return self._resampled[0]

    @property
    def _resampled_counts(self) -> Float[np.ndarray, "3 resample label"]:
        return self._resampled[1]

    @cached_property
    def _resampled(self) -> tuple[Float[np.ndarray, "label resample"], Float[np.ndarray, "3 resample label"]]:
        """The average precisions, and true positives, false positives and false negatives, of each resample."""
        images = len(self.truth)
        kinds = confusion_kinds(self.predicted, self.truth).astype(np.float64)
        precisions, counts = [], []
        size = max(_BLOCK // images, 1)
        for seed, start in enumerate(range(0, RESAMPLES, size)):
            resampled = resample_counts(images, min(size, RESAMPLES - start), seed)
            columns = zip(self.probabilities.T, self.truth.T, strict=True)
            precisions.append(np.stack([average_precision(*column, resampled) for column in columns]))
            counts.append(resampled.astype(np.float64) @ kinds)
        return np.concatenate(precisions, axis=1), np.concatenate(counts, axis=1)
