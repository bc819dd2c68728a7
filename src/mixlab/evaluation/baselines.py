"""What a model has to beat: answers that need no training."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int, UInt8
from sklearn.neighbors import KNeighborsClassifier

from mixlab.data.dataset import Part
from mixlab.data.preprocess import Preprocess
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval

_LARGEST_SIDE = 32
"""Pixels: pictures that are larger, or of several sizes, are resized to this square to find their neighbours."""

Places = Int[np.ndarray, " _"]
"""Of a part's pictures."""


def yardsticks(train: Part, test: Part) -> dict[str, Estimate]:
    """Accuracy on `test` of the answers below, in per cent."""
    places = np.arange(len(train) + len(test))
    return yardsticks_in_rounds(train.joined(test), [(places[: len(train)], places[len(train) :])])


def yardsticks_in_rounds(part: Part, rounds: Iterable[tuple[Places, Places]]) -> dict[str, Estimate]:
    """Accuracy on all test pictures; a round has the places of those that are known and of those to answer.

    Every picture is read once.
    """
    pixels, labels = _pixels(part), part.labels
    answers: dict[str, list[Int[np.ndarray, " picture"]]] = {"majority class": [], "1-nearest neighbour": []}
    asked: list[Places] = []
    for train, test in rounds:
        asked.append(test)
        answers["majority class"].append(majority_class(labels[train], len(test)))
        answers["1-nearest neighbour"].append(nearest_neighbour(pixels[train], labels[train], pixels[test]))
    true = labels[np.concatenate(asked)]
    return {name: accuracy(np.concatenate(predictions), true) for name, predictions in answers.items()}


def accuracy(predictions: Int[np.ndarray, " picture"], labels: Int[np.ndarray, " picture"]) -> Estimate:
    """In per cent."""
    return proportion_interval(int((predictions == labels).sum()), len(labels))


def majority_class(train_labels: Int[np.ndarray, " train_picture"], pictures: int) -> Int[np.ndarray, " picture"]:
    """The class with the most training pictures, whatever the picture shows."""
    return np.full(pictures, np.bincount(train_labels).argmax())


def nearest_neighbour(
    train_images: UInt8[np.ndarray, "train_picture ..."],
    train_labels: Int[np.ndarray, " train_picture"],
    images: UInt8[np.ndarray, "picture ..."],
) -> Int[np.ndarray, " picture"]:
    """The class of the training picture whose pixels are nearest (Euclidean); all pictures have one size."""
    classifier = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    classifier.fit(train_images.reshape(len(train_images), -1).astype(np.float32), train_labels)
    return classifier.predict(images.reshape(len(images), -1).astype(np.float32))


def _pixels(part: Part) -> UInt8[np.ndarray, "picture row column 3"]:
    """The pictures as they are, if all are of one small size, else resized; only small ones are held."""
    pictures = [_small(part.image(index)) for index in range(len(part))]
    if len({picture.shape for picture in pictures}) > 1:
        pictures = [_resized(picture) for picture in pictures]
    return np.stack(pictures)


def _small(picture: UInt8[np.ndarray, "row column 3"]) -> UInt8[np.ndarray, "small_row small_column 3"]:
    return picture if max(picture.shape) <= _LARGEST_SIDE else _resized(picture)


def _resized(picture: UInt8[np.ndarray, "row column 3"]) -> UInt8[np.ndarray, "square square 3"]:
    return Preprocess((_LARGEST_SIDE, _LARGEST_SIDE)).resized(picture).movedim(0, -1).numpy()
