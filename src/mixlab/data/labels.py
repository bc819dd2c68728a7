"""Labels of images: one class per image, several, or one per pixel.

Axes:  image  an image of a split
       class  a class of the dataset
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int64

from mixlab.data.masks import Masks

if TYPE_CHECKING:  # code for one kind of labels does not distinguish it from the others
    Labels = np.ndarray | Any
else:
    Labels = Int64[np.ndarray, " image"] | Bool[np.ndarray, "image _"] | Masks
"""The index of the class of each image, or whether each class is a label of the image, or a mask of each image."""


def present_classes(labels: Labels) -> Int64[np.ndarray, " present"]:
    """The indices of the classes that an image has; with masks, all classes, because no mask is read."""
    if isinstance(labels, Masks):
        return np.arange(labels.coding.classes)
    return np.unique(labels) if labels.ndim == 1 else np.flatnonzero(labels.any(axis=0))


def with_other_classes(labels: Labels, new_index: Int64[np.ndarray, " class"], classes: int) -> Labels:
    """The labels for other classes.

    new_index  of each class; -1 for classes that no image has
    classes    the number of new classes
    """
    if isinstance(labels, Masks):
        return labels.with_other_classes(new_index, classes)
    if labels.ndim == 1:
        return new_index[labels]
    has_class = np.flatnonzero(new_index >= 0)
    result = np.zeros((len(labels), classes), dtype=bool)
    result[:, new_index[has_class]] = labels[:, has_class]
    return result


def class_counts(labels: Labels, classes: int) -> Int64[np.ndarray, " class"]:
    """The number of images with each class. Masks are read."""
    if isinstance(labels, Masks):
        return (labels.pixel_counts() > 0).sum(axis=0)
    return np.bincount(labels, minlength=classes) if labels.ndim == 1 else labels.sum(axis=0)


def joined(labels: Any, others: Any) -> Labels:
    """The labels of some images, followed by those of others of the same dataset; both are `Labels`."""
    return labels.concat(others) if isinstance(labels, Masks) else np.concatenate([labels, others])


def contents(labels: Labels) -> list[Any]:
    """What determines the labels, as JSON values. Masks are read."""
    return labels.contents() if isinstance(labels, Masks) else labels.tolist()


def listing(labels: Labels) -> list[Any]:
    """The same without reading masks: their names and sizes."""
    return labels.listing() if isinstance(labels, Masks) else labels.tolist()
