"""Metrics of predicted masks, with bootstrap intervals over images. They follow from counts of pixels of each image.

Axes:  image, class  of the evaluation
       resample      bootstrap resamples of the images
       row, column   pixels of a mask
       line, place   its rows and columns, or columns and rows
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt64

from mixlab.data.mask_file import IGNORED
from mixlab.stats.bootstrap import percentile_interval, resample_counts
from mixlab.stats.estimate import Estimate
from mixlab.stats.undefined import mean_of_defined, ratio
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

_BITS = 64

ClassMap = Int64[np.ndarray, "row column"]

_COUNTS = ("hits", "true", "predicted", "found_predicted", "boundary_predicted", "found_true", "boundary_true")


def pixel_counts(truth: ClassMap, predicted: ClassMap, classes: int) -> Int64[np.ndarray, "count class"]:
    """The counts `_COUNTS` of an image. Pixels that are ignored in `truth` are not counted."""
    confusion = confusion_of(truth[None], predicted[None], classes)[0]
    counted = np.where(truth == IGNORED, IGNORED, predicted)
    radius = max(round(_TOLERANCE * math.hypot(*truth.shape)), 1)
    edges, true_edges = boundary(counted), boundary(truth)
    found, found_true = (
        _near(counted, edges, truth, true_edges, radius),
        _near(truth, true_edges, counted, edges, radius),
    )
    pixels = ((counted, found), (counted, edges), (truth, found_true), (truth, true_edges))
    return np.stack(
        [
            np.diagonal(confusion),
            confusion.sum(axis=1),
            confusion.sum(axis=0),
            *(np.bincount(mask[chosen], minlength=classes) for mask, chosen in pixels),
        ]
    )


def boundary(mask: ClassMap) -> Bool[np.ndarray, "row column"]:
    """Whether each pixel has a neighbour of another class that is not ignored."""
    edge = np.zeros(mask.shape, dtype=bool)
    for lines, at_edge in ((mask, edge), (mask.T, edge.T)):
        differs = (lines[:-1] != lines[1:]) & (lines[:-1] != IGNORED) & (lines[1:] != IGNORED)
        at_edge[:-1] |= differs
        at_edge[1:] |= differs
    return edge


def _near(
    mask: ClassMap,
    edges: Bool[np.ndarray, "row column"],
    other: ClassMap,
    other_edges: Bool[np.ndarray, "row column"],
    radius: int,
) -> Bool[np.ndarray, "row column"]:
    """Which pixels of `edges` have an edge of the same class in `other` within a square of `radius` pixels.

    The classes of the edges around a pixel are the bits of an integer, 64 classes at a time.
    """
    found = np.zeros(mask.shape, dtype=bool)
    for start in range(0, int(max(mask[edges].max(initial=0), 0)) + 1, _BITS):
        in_group = other_edges & (other >= start) & (other < start + _BITS)
        bits = np.where(in_group, np.uint64(1) << ((other - start) % _BITS).astype(np.uint64), np.uint64(0))
        around = _spread(_spread(bits, radius).T, radius).T
        of_class = around >> ((mask - start) % _BITS).astype(np.uint64) & np.uint64(1)
        found |= edges & (mask >= start) & (mask < start + _BITS) & (of_class > 0)
    return found


def _spread(bits: UInt64[np.ndarray, "line place"], radius: int) -> UInt64[np.ndarray, "line place"]:
    """The union of the bits of up to `radius` lines before and after each line."""
    result = bits.copy()
    for distance in range(1, min(radius, len(bits) - 1) + 1):
        result[distance:] |= bits[:-distance]
        result[:-distance] |= bits[distance:]
    return result


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
        """The metrics of `METRICS` that are defined. Resamples without a class leave it out.

        Boundary F1 is undefined without a boundary between classes, for example if ignored pixels separate them.
        """
        whole, resampled = _metrics(self._total), _metrics(self._resampled)
        return {
            key: percentile_interval(100 * float(whole[key][0]), 100 * resampled[key], len(self.counts), "%")
            for key in METRICS
            if not np.isnan(whole[key][0])
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
        return 100 * mean_of_defined(_ious(self.counts.astype(np.float64)), axis=1)

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
        "miou": mean_of_defined(_ious(counts), axis=1),
        "boundary_f1": mean_of_defined(_boundary_f1(counts), axis=1),
        "pixel_accuracy": ratio(by_name["hits"].sum(axis=1), by_name["true"].sum(axis=1)),
    }


def _ious(counts: Float[np.ndarray, "resample count class"]) -> Float[np.ndarray, "resample class"]:
    hits, true, predicted = counts[:, :3].transpose(1, 0, 2)
    return ratio(hits, true + predicted - hits)


def _boundary_f1(counts: Float[np.ndarray, "resample count class"]) -> Float[np.ndarray, "resample class"]:
    """F1 of precision and recall of boundary pixels; NaN for a class without any."""
    found_predicted, predicted, found_true, true = counts[:, 3:].transpose(1, 0, 2)
    precision, recall = (np.nan_to_num(ratio(found_predicted, predicted)), np.nan_to_num(ratio(found_true, true)))
    f1 = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where(predicted + true > 0, f1, np.nan)
