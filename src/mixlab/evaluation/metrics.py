"""How well predictions match labels: pure functions of arrays.

Axes:  image, class
"""

import numpy as np
from jaxtyping import Bool, Float, Int


def topk_correct(
    probabilities: Float[np.ndarray, "image class"], labels: Int[np.ndarray, " image"], among: int = 1
) -> Bool[np.ndarray, " image"]:
    """Whether the true class is one of the `among` most probable; of equal ones the first class counts as ahead."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :among]
    return (best == labels[:, None]).any(axis=1)


def confusion_matrix(
    labels: Int[np.ndarray, " image"], predictions: Int[np.ndarray, " image"], classes: int
) -> Int[np.ndarray, "class class"]:
    """Counts of images: a row for each true class, a column for each predicted one."""
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)


def recall(confusion: Int[np.ndarray, "class class"]) -> Float[np.ndarray, " class"]:
    """Share of a class's images that were recognised; NaN for a class without images."""
    return _share(np.diag(confusion), confusion.sum(axis=1))


def f1(confusion: Int[np.ndarray, "class class"]) -> Float[np.ndarray, " class"]:
    """Harmonic mean of precision and recall; NaN for a class that was neither there nor answered."""
    return _share(2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def balanced_accuracy(confusion: Int[np.ndarray, "class class"]) -> float:
    """Mean recall over the classes that have images, from 0 to 1."""
    return float(np.nanmean(recall(confusion)))


def macro_f1(confusion: Int[np.ndarray, "class class"]) -> float:
    """Mean F1 over the classes that were there or answered, from 0 to 1."""
    return float(np.nanmean(f1(confusion)))


def _share(numerator: Int[np.ndarray, " class"], denominator: Int[np.ndarray, " class"]) -> Float[np.ndarray, " class"]:
    return np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0)
