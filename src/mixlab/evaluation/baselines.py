"""What a model has to beat: answers that need no training."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int, UInt8
from sklearn.neighbors import KNeighborsClassifier

from mixlab.data.dataset import Split
from mixlab.data.preprocess import Preprocess
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval

_LARGEST_SIDE = 32
"""Pixels: images that are larger, or of several sizes, are resized to this square to find their neighbours."""

Places = Int[np.ndarray, " _"]
"""Of a part's images."""


def baselines(train: Split, test: Split) -> dict[str, Estimate]:
    """Accuracy on `test` of the answers below, in per cent."""
    places = np.arange(len(train) + len(test))
    return baselines_over_rounds(train.concat(test), [(places[: len(train)], places[len(train) :])])


def baselines_over_rounds(split: Split, rounds: Iterable[tuple[Places, Places]]) -> dict[str, Estimate]:
    """Accuracy on all test images; a round has the places of those that are known and of those to answer.

    Every image is read once.
    """
    pixels, labels = _pixels(split), split.labels
    answers: dict[str, list[Int[np.ndarray, " image"]]] = {"majority class": [], "1-nearest neighbour": []}
    asked: list[Places] = []
    for train, test in rounds:
        asked.append(test)
        answers["majority class"].append(majority_class(labels[train], len(test)))
        answers["1-nearest neighbour"].append(nearest_neighbour(pixels[train], labels[train], pixels[test]))
    true = labels[np.concatenate(asked)]
    return {name: accuracy(np.concatenate(predictions), true) for name, predictions in answers.items()}


def accuracy(predictions: Int[np.ndarray, " image"], labels: Int[np.ndarray, " image"]) -> Estimate:
    """In per cent."""
    return proportion_interval(int((predictions == labels).sum()), len(labels))


def majority_class(train_labels: Int[np.ndarray, " train_image"], images: int) -> Int[np.ndarray, " image"]:
    """The class with the most training images, whatever the image shows."""
    return np.full(images, np.bincount(train_labels).argmax())


def nearest_neighbour(
    train_images: UInt8[np.ndarray, "train_image ..."],
    train_labels: Int[np.ndarray, " train_image"],
    images: UInt8[np.ndarray, "image ..."],
) -> Int[np.ndarray, " image"]:
    """The class of the training image whose pixels are nearest (Euclidean); all images have one size."""
    classifier = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    classifier.fit(train_images.reshape(len(train_images), -1).astype(np.float32), train_labels)
    return classifier.predict(images.reshape(len(images), -1).astype(np.float32))


def _pixels(split: Split) -> UInt8[np.ndarray, "image row column 3"]:
    """The images as they are, if all are of one small size, else resized; only small ones are held."""
    images = [_small(split.image(index)) for index in range(len(split))]
    if len({image.shape for image in images}) > 1:
        images = [_resized(image) for image in images]
    return np.stack(images)


def _small(image: UInt8[np.ndarray, "row column 3"]) -> UInt8[np.ndarray, "small_row small_column 3"]:
    return image if max(image.shape) <= _LARGEST_SIDE else _resized(image)


def _resized(image: UInt8[np.ndarray, "row column 3"]) -> UInt8[np.ndarray, "square square 3"]:
    return Preprocess((_LARGEST_SIDE, _LARGEST_SIDE)).resized(image).movedim(0, -1).numpy()
