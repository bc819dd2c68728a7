"""Classification metrics: pure functions of arrays.

Axes:  image  an evaluated image
       class  in the order of the class indices
"""

import numpy as np
from jaxtyping import Bool, Float, Int


def topk_correct(
    probabilities: Float[np.ndarray, "image class"], labels: Int[np.ndarray, " image"], k: int = 1
) -> Bool[np.ndarray, " image"]:
    """Whether the true class is among the `k` most probable classes; ties are ordered by class index."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return (best == labels[:, None]).any(axis=1)


def confusion_matrix(
    labels: Int[np.ndarray, " image"], predictions: Int[np.ndarray, " image"], classes: int
) -> Int[np.ndarray, "class class"]:
    """Counts of images: one row for each true class, one column for each predicted class."""
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)


def recall(confusion: Int[np.ndarray, "class class"]) -> Float[np.ndarray, " class"]:
    """The share of each class's images that are classified correctly; NaN for a class without images."""
    return _ratio(np.diag(confusion), confusion.sum(axis=1))


def f1(confusion: Int[np.ndarray, "class class"]) -> Float[np.ndarray, " class"]:
    """The harmonic mean of precision and recall; NaN for a class that has no images and is never predicted."""
    return _ratio(2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def balanced_accuracy(confusion: Int[np.ndarray, "class class"]) -> float:
    """The mean recall over the classes that have images, from 0 to 1."""
    return float(np.nanmean(recall(confusion)))


def macro_f1(confusion: Int[np.ndarray, "class class"]) -> float:
    """The mean F1 over the classes that have images or are predicted, from 0 to 1."""
    return float(np.nanmean(f1(confusion)))


def _ratio(numerator: Int[np.ndarray, " class"], denominator: Int[np.ndarray, " class"]) -> Float[np.ndarray, " class"]:
    return np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0)
