"""Metrics of predicted masks, with bootstrap intervals over images. They follow from counts of pixels of each image.

Axes:  image, class  of the evaluation
       resample      bootstrap resamples of the images
       row, column   pixels of a mask
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch.nn import functional as F

from mixlab.data.mask_file import IGNORED
from mixlab.stats.bootstrap import percentile_interval, resample_counts
from mixlab.stats.estimate import Estimate
from mixlab.tasks.segmentation_metrics import confusion_of

RESAMPLES = 1000

METRICS: Mapping[str, tuple[str, str]] = {
    "miou": ("mIoU", "the mean over the classes of the intersection over union of all pixels."),
    "boundary_f1": (
        "boundary F1",
        "the mean over the classes of F1 of boundary pixels, which count as found within 0.75 % of the diagonal.",
    ),
    "pixel_accuracy": ("pixel accuracy", "the share of labelled pixels with the true class."),
}
"""Key -> title and meaning."""

_TOLERANCE = 0.0075
"""Of the diagonal, as in Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?"."""

ClassMap = Int64[np.ndarray, "row column"]

_COUNTS = ("hits", "true", "predicted", "found_predicted", "boundary_predicted", "found_true", "boundary_true")


def pixel_counts(truth: ClassMap, predicted: ClassMap, classes: int) -> Int64[np.ndarray, "count class"]:
    """The counts `_COUNTS` of an image. Pixels that are ignored in `truth` are not counted."""
    confusion = confusion_of(truth[None], predicted[None], classes)[0]
    counted = np.where(truth == IGNORED, IGNORED, predicted)
    radius = max(round(_TOLERANCE * math.hypot(*truth.shape)), 1)
    true_edges, edges = boundaries(truth, classes), boundaries(counted, classes)
    return np.stack(
        [
            np.diagonal(confusion),
            confusion.sum(axis=1),
            confusion.sum(axis=0),
            (edges & _dilated(true_edges, radius)).sum(dim=(1, 2)).numpy(),
            edges.sum(dim=(1, 2)).numpy(),
            (true_edges & _dilated(edges, radius)).sum(dim=(1, 2)).numpy(),
            true_edges.sum(dim=(1, 2)).numpy(),
        ]
    )


def boundaries(mask: ClassMap, classes: int) -> torch.Tensor:
    """Booleans (class, row, column): pixels of each class beside one of another class that is not ignored."""
    tensor = torch.from_numpy(mask)
    edge = torch.zeros(mask.shape, dtype=torch.bool)
    for axis in (0, 1):
        before, after = tensor.narrow(axis, 0, mask.shape[axis] - 1), tensor.narrow(axis, 1, mask.shape[axis] - 1)
        differs = (before != after) & (before != IGNORED) & (after != IGNORED)
        edge.narrow(axis, 0, mask.shape[axis] - 1).logical_or_(differs)
        edge.narrow(axis, 1, mask.shape[axis] - 1).logical_or_(differs)
    return torch.stack([(tensor == index) & edge for index in range(classes)])


def _dilated(edges: torch.Tensor, radius: int) -> torch.Tensor:
    """Whether an edge is within a square of `radius` pixels around each pixel."""
    wide = F.max_pool2d(edges[None].float(), (1, 2 * radius + 1), stride=1, padding=(0, radius))
    return F.max_pool2d(wide, (2 * radius + 1, 1), stride=1, padding=(radius, 0))[0] > 0


@dataclass(frozen=True, eq=False)
class ClassMetrics:
    """The metrics of one class in per cent; an undefined one is None.

    share  of the labelled pixels
    """

    name: str
    share: float
    iou: Estimate | None
    boundary_f1: Estimate | None


@dataclass(frozen=True, eq=False)
class SegmentationScores:
    """The counts of pixels of each image, from `pixel_counts`."""

    classes: tuple[str, ...]
    counts: Int64[np.ndarray, "image count class"]

    @cached_property
    def summary(self) -> dict[str, Estimate]:
        """The metrics of `METRICS`. Resamples without a class leave it out."""
        whole, resampled = _metrics(self._total), _metrics(self._resampled)
        return {
            key: percentile_interval(100 * float(whole[key][0]), 100 * resampled[key], len(self.counts), "%")
            for key in METRICS
        }

    def by_class(self) -> list[ClassMetrics]:
        """The metrics of each class, in the order of the classes."""
        pixels = self._total[0, _COUNTS.index("true")]
        values = {"iou": (_ious(self._total)[0], _ious(self._resampled))}
        values["boundary_f1"] = (_boundary_f1(self._total)[0], _boundary_f1(self._resampled))
        rows = []
        for index, name in enumerate(self.classes):
            estimates = {
                key: None
                if np.isnan(whole[index])
                else percentile_interval(100 * whole[index], 100 * resampled[:, index], len(self.counts), "%")
                for key, (whole, resampled) in values.items()
            }
            rows.append(ClassMetrics(name, float(100 * pixels[index] / max(pixels.sum(), 1)), **estimates))
        return rows

    def image_mious(self) -> Float[np.ndarray, " image"]:
        """The mIoU of each image by itself in per cent; NaN without labelled pixels."""
        return 100 * _mean(_ious(self.counts.astype(np.float64)))

    @cached_property
    def _total(self) -> Float[np.ndarray, "1 count class"]:
        return self.counts.sum(axis=0, keepdims=True).astype(np.float64)

    @cached_property
    def _resampled(self) -> Float[np.ndarray, "resample count class"]:
        images, counts, classes = self.counts.shape
        times = resample_counts(images, RESAMPLES).astype(np.float64)
        return (times @ self.counts.reshape(images, -1)).reshape(RESAMPLES, counts, classes)


def _metrics(counts: Float[np.ndarray, "resample count class"]) -> dict[str, Float[np.ndarray, " resample"]]:
    by_name = dict(zip(_COUNTS, counts.transpose(1, 0, 2), strict=True))
    return {
        "miou": _mean(_ious(counts)),
        "boundary_f1": _mean(_boundary_f1(counts)),
        "pixel_accuracy": _ratio(by_name["hits"].sum(axis=1), by_name["true"].sum(axis=1)),
    }


def _ious(counts: Float[np.ndarray, "resample count class"]) -> Float[np.ndarray, "resample class"]:
    hits, true, predicted = counts[:, :3].transpose(1, 0, 2)
    return _ratio(hits, true + predicted - hits)


def _boundary_f1(counts: Float[np.ndarray, "resample count class"]) -> Float[np.ndarray, "resample class"]:
    """F1 of precision and recall of boundary pixels; NaN for a class without any."""
    found_predicted, predicted, found_true, true = counts[:, 3:].transpose(1, 0, 2)
    precision, recall = (np.nan_to_num(_ratio(found_predicted, predicted)), np.nan_to_num(_ratio(found_true, true)))
    f1 = np.nan_to_num(_ratio(2 * precision * recall, precision + recall))
    return np.where(predicted + true > 0, f1, np.nan)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _mean(values: Float[np.ndarray, "resample class"]) -> Float[np.ndarray, " resample"]:
    """The mean over the classes that are defined; NaN without any."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1).astype(np.float64))
