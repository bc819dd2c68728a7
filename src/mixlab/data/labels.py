"""Labels of images: one class per image, or several.

Axes:  image  an image of a split
       class  a class of the dataset
"""

import numpy as np
from jaxtyping import Bool, Int64

Labels = Int64[np.ndarray, " image"] | Bool[np.ndarray, "image _"]
"""The index of the class of each image, or whether each class is a label of the image."""


def present_classes(labels: Labels) -> Int64[np.ndarray, " present"]:
    """The indices of the classes that an image has."""
    return np.unique(labels) if labels.ndim == 1 else np.flatnonzero(labels.any(axis=0))


def with_other_classes(labels: Labels, new_index: Int64[np.ndarray, " class"], classes: int) -> Labels:
    """The labels for other classes.

    new_index  of each class; -1 for classes that no image has
    classes    the number of new classes
    """
    if labels.ndim == 1:
        return new_index[labels]
    has_class = np.flatnonzero(new_index >= 0)
    result = np.zeros((len(labels), classes), dtype=bool)
    result[:, new_index[has_class]] = labels[:, has_class]
    return result


def class_counts(labels: Labels, classes: int) -> Int64[np.ndarray, " class"]:
    """The number of images with each class."""
    return np.bincount(labels, minlength=classes) if labels.ndim == 1 else labels.sum(axis=0)
