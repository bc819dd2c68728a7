"""Baselines that need no training: the majority class and the nearest neighbour in pixel space."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int, UInt8
from sklearn.neighbors import KNeighborsClassifier

from mixlab.data.dataset import Split
from mixlab.data.decoding import common_decoding
from mixlab.data.preprocess import Preprocess
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval

_MAX_SIDE = 32
"""Pixels. The nearest neighbour resizes larger images, and images of different sizes, to a square of this side."""

Indices = Int[np.ndarray, " _"]
"""Indices of images in a split."""

Labelled = Int[np.ndarray, " image"] | Bool[np.ndarray, "image label"]
"""The class or the labels of each image."""


def baselines(train: Split, test: Split) -> dict[str, Estimate]:
    """The accuracy of each baseline on `test`, in per cent."""
    indices = np.arange(len(train) + len(test))
    return baselines_over_rounds(train.concat(test), [(indices[: len(train)], indices[len(train) :])])


def baselines_over_rounds(split: Split, rounds: Iterable[tuple[Indices, Indices]]) -> dict[str, Estimate]:
    """The accuracy of each baseline on the test images of all rounds together, in per cent.

    Each round is a pair of train and test indices into `split`. Every image is read, with one decoding for all.
    """
    pixels, labels = small_pixels(split), split.labels
    predictions: dict[str, list[Int[np.ndarray, " image"]]] = {"majority class": [], "1-nearest neighbour": []}
    test_indices: list[Indices] = []
    for train, test in rounds:
        test_indices.append(test)
        predictions["majority class"].append(majority_class(labels[train], len(test)))
        predictions["1-nearest neighbour"].append(nearest_neighbour(pixels[train], labels[train], pixels[test]))
    true = labels[np.concatenate(test_indices)]
    return {name: accuracy(np.concatenate(of_rounds), true) for name, of_rounds in predictions.items()}


def accuracy(predictions: Int[np.ndarray, " image"], labels: Int[np.ndarray, " image"]) -> Estimate:
    """The share of correct predictions, in per cent."""
    return proportion_interval(int((predictions == labels).sum()), len(labels))


def majority_class(train_labels: Int[np.ndarray, " train_image"], images: int) -> Int[np.ndarray, " image"]:
    """Predict the most frequent training class for each of `images` images."""
    return np.full(images, np.bincount(train_labels).argmax())


def majority_accuracy(train_labels: Int[np.ndarray, " train_image"], labels: Int[np.ndarray, " image"]) -> Estimate:
    """The accuracy in per cent of always predicting the most frequent training class."""
    return accuracy(majority_class(train_labels, len(labels)), labels)


def nearest_neighbour(
    train_images: UInt8[np.ndarray, "train_image ..."],
    train_labels: Int[np.ndarray, " train_image"] | Bool[np.ndarray, "train_image label"],
    images: UInt8[np.ndarray, "image ..."],
) -> Labelled:
    """Predict the class, or the labels, of the training image with the smallest Euclidean distance in pixel space.

    All images must have the same size.
    """
    classifier = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    classifier.fit(train_images.reshape(len(train_images), -1).astype(np.float32), train_labels)
    return classifier.predict(images.reshape(len(images), -1).astype(np.float32))


def small_pixels(split: Split) -> UInt8[np.ndarray, "image row column 3"]:
    """All images, resized unless all of them have the same small size. Only small images are held in memory."""
    decoding = common_decoding(split)
    images = [_limit_size(split.image(index, decoding)) for index in range(len(split))]
    if len({image.shape for image in images}) > 1:
        images = [_resize(image) for image in images]
    return np.stack(images)


def _limit_size(image: UInt8[np.ndarray, "row column 3"]) -> UInt8[np.ndarray, "small_row small_column 3"]:
    return image if max(image.shape) <= _MAX_SIDE else _resize(image)


def _resize(image: UInt8[np.ndarray, "row column 3"]) -> UInt8[np.ndarray, "square square 3"]:
    return Preprocess((_MAX_SIDE, _MAX_SIDE)).resized(image).movedim(0, -1).numpy()
