"""Metrics of masks from counts of pixels, which add up over images, batches and processes.

Axes:  image, row, column  the masks of a batch
       true, predicted     classes
"""

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from mixlab.data.mask_file import IGNORED
from mixlab.stats.undefined import mean_of_defined, ratio

Confusion = Int64[np.ndarray, "*set true predicted"]
"""The number of pixels with each true and each predicted class; ignored pixels are not counted."""


def confusion_of(
    truth: Int64[np.ndarray, "image row column"], predicted: Int64[np.ndarray, "image row column"], classes: int
) -> Int64[np.ndarray, "image true predicted"]:
    """The confusion matrix of each image."""
    images, pixels = len(truth), truth[0].size
    labelled = truth != IGNORED
    flat = np.arange(images)[:, None] * classes**2 + (truth * classes + predicted).reshape(images, pixels)
    counts = np.bincount(flat[labelled.reshape(images, pixels)], minlength=images * classes**2)
    return counts.reshape(images, classes, classes)


def unions(confusion: Confusion) -> Int64[np.ndarray, "*set class"]:
    """The pixels that have each class in truth or prediction."""
    return confusion.sum(axis=-1) + confusion.sum(axis=-2) - _hits(confusion)


def ious(confusion: Confusion) -> Float[np.ndarray, "*set class"]:
    """The intersection over union of each class, from 0 to 1; NaN for a class without pixels in both."""
    return ratio(_hits(confusion), unions(confusion))


def mean_iou(confusion: Confusion) -> Float[np.ndarray, "*set"]:
    """The mean over the classes with pixels in truth or prediction; NaN without any."""
    return mean_of_defined(ious(confusion), axis=-1)


def pixel_accuracy(confusion: Confusion) -> Float[np.ndarray, "*set"]:
    """The share of labelled pixels with the true class; NaN without labelled pixels."""
    return ratio(_hits(confusion).sum(axis=-1), confusion.sum(axis=(-2, -1)))


def predicted_classes(logits: Float[Tensor, "image class row column"]) -> Int64[np.ndarray, "image row column"]:
    """The class with the largest logit of each pixel."""
    return logits.argmax(dim=1).numpy(force=True)


def _hits(confusion: Confusion) -> Int64[np.ndarray, "*set class"]:
    return np.diagonal(confusion, axis1=-2, axis2=-1)
