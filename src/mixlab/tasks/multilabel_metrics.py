"""Metrics of several labels per image, as scikit-learn defines them, and the thresholds of the labels.

Axes:  image, label  of an evaluation
       resample      bootstrap resamples of the images
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from mixlab.stats.undefined import ratio

Probabilities = Float[np.ndarray, "image label"]
Truth = Bool[np.ndarray, "image label"]

Counted = Real[np.ndarray, "..."] | np.integer

DEFAULT_THRESHOLD = 0.5
"""The threshold of a label without validation images that have it."""


def average_precision(
    probabilities: Float[np.ndarray, " image"],
    truth: Bool[np.ndarray, " image"],
    weights: Real[np.ndarray, "resample image"] | None = None,
) -> Float[np.ndarray, " resample"]:
    """The average precision of one label, from 0 to 1: the mean precision at each image that has the label.

    weights  how often an image is in each resample; None: a single one with every image once

    Images with equal probabilities are ranked together, as in scikit-learn. NaN for resamples without the label.
    """
    weights = np.ones((1, len(truth))) if weights is None else weights
    order = np.argsort(-probabilities, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(probabilities[order])), len(order) - 1)
    ranked = weights[:, order].astype(np.float64)
    images = ranked.cumsum(axis=1)[:, ends]
    positives = (ranked * truth[order]).cumsum(axis=1)[:, ends]
    precision = np.divide(positives, images, out=np.zeros_like(images), where=images > 0)
    total = positives[:, -1]
    area = (np.diff(positives, axis=1, prepend=0) * precision).sum(axis=1)
    return ratio(area, total)


def average_precisions(probabilities: Probabilities, truth: Truth) -> Float[np.ndarray, " label"]:
    """The average precision of each label; NaN for a label that no image has."""
    return np.array(
        [average_precision(*columns)[0] for columns in zip(probabilities.T, truth.T, strict=True)], dtype=np.float64
    )


def f1(true_positives: Counted, false_positives: Counted, false_negatives: Counted) -> Float[np.ndarray, "..."]:
    """2 TP / (2 TP + FP + FN), from 0 to 1; NaN if a label is neither present nor predicted."""
    total = 2 * true_positives + false_positives + false_negatives
    return ratio(2 * true_positives, total)


def best_thresholds(probabilities: Probabilities, truth: Truth) -> Float[np.ndarray, " label"]:
    """The threshold of each label with the highest F1: a label is predicted from this probability on.

    It lies in the middle between two neighbouring probabilities; of equally good ones, the highest is chosen.
    """
    return np.array([_best_threshold(*columns) for columns in zip(probabilities.T, truth.T, strict=True)])


def _best_threshold(probabilities: Float[np.ndarray, " image"], truth: Bool[np.ndarray, " image"]) -> float:
    if not truth.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float64)
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(order) - 1)
    positives, predicted = truth[order].cumsum()[ends], ends + 1
    place = int(np.argmax(f1(positives, predicted - positives, truth.sum() - positives)))
    below = ranked[ends[place] + 1] if place + 1 < len(ends) else 0.0
    return float((ranked[ends[place]] + below) / 2)


def confusion_kinds(predicted: Bool[np.ndarray, "image label"], truth: Truth) -> Bool[np.ndarray, "3 image label"]:
    """Whether each decision is a true positive, a false positive, or a false negative."""
    return np.stack([predicted & truth, predicted & ~truth, ~predicted & truth])


def confusion_counts(predicted: Bool[np.ndarray, "image label"], truth: Truth) -> Int[np.ndarray, "3 label"]:
    """True positives, false positives and false negatives of each label."""
    return confusion_kinds(predicted, truth).sum(axis=1)
