"""k-fold: a set's images in k parts alike, each of which is judged once (Stone, 1974).

Images with equal bytes, or of one origin, are in one fold, and every class is spread over the folds as evenly as that
allows. A single test part is the case of one fold, in which not every image is.

Axes:  image  one of the set, whatever part it was in
       fold     the one in which an image is judged
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Int64

from mixlab.data.dataset import Dataset, Part
from mixlab.data.holdout import VALIDATION_SHARE, Grouped, grouped
from mixlab.data.rng import epoch_order
from mixlab.errors import UserError

NONE = -1
"""The fold of images that are only learned from."""


@dataclass(frozen=True, eq=False)
class Round:
    """Places of images: to fit on, to choose settings on, and to judge. No group is in two of them."""

    train: Int64[np.ndarray, " train_image"]
    validation: Int64[np.ndarray, " validation_image"]
    test: Int64[np.ndarray, " test_image"]


@dataclass(frozen=True, eq=False)
class Folds:
    images: Grouped
    fold_of: Int64[np.ndarray, " image"]

    @property
    def count(self) -> int:
        return int(self.fold_of.max()) + 1

    @property
    def judged(self) -> Int64[np.ndarray, " judged_image"]:
        """Places of the images that are judged, each in one round."""
        return np.flatnonzero(self.fold_of != NONE)

    def rounds(self) -> Iterator[Round]:
        """Validation is a tenth of what a fold leaves, so that settings are chosen without its images."""
        for fold in range(self.count):
            learned = np.flatnonzero(self.fold_of != fold)
            held = self.images.subset(learned).held_out(VALIDATION_SHARE)
            yield Round(learned[~held], learned[held], np.flatnonzero(self.fold_of == fold))


def folded(dataset: Dataset, count: int, *, seed: int = 0) -> Folds:
    """Images of all parts take part. Raises UserError where a class has fewer different ones than there are folds."""
    if count < 2:
        raise UserError(f"{count} folds leave nothing to train on: give at least 2.")
    everything = grouped(reduce(Part.joined, dataset.parts.values()))
    _check_enough(dataset, everything, count)
    return Folds(everything, folds_of(everything, count, seed))


def one_test_part(dataset: Dataset) -> Folds:
    """One fold: the test part. Images of the other parts are learned from."""
    everything = grouped(reduce(Part.joined, dataset.parts.values()))
    sizes = [len(part) for part in dataset.parts.values()]
    folds = [0 if name == "test" else NONE for name in dataset.parts]
    return Folds(everything, np.repeat(np.array(folds, dtype=np.int64), sizes))


def folds_of(images: Grouped, count: int, seed: int) -> Int64[np.ndarray, " image"]:
    """Large groups first, else in an order that the seed decides: each goes where its classes are rarest so far."""
    members: defaultdict[int, list[int]] = defaultdict(list)
    for place, group in enumerate(images.groups.tolist()):
        members[group].append(place)
    groups = list(members.values())
    shuffled = [groups[index] for index in epoch_order(seed, 0, len(groups))]
    labels = images.part.labels
    have = np.zeros((count, int(labels.max()) + 1), dtype=np.int64)  # images of each class in each fold
    fold_of = np.empty(len(labels), dtype=np.int64)
    for group in sorted(shuffled, key=len, reverse=True):
        adds = np.bincount(labels[group], minlength=have.shape[1])
        fold = min(range(count), key=lambda fold: (have[fold] @ adds, have[fold].sum()))
        have[fold] += adds
        fold_of[group] = fold
    return fold_of


def _check_enough(dataset: Dataset, images: Grouped, count: int) -> None:
    different = np.bincount(images.labels_of_groups, minlength=len(dataset.classes))
    fewest = int(different.argmin())
    if different[fewest] < count:
        raise UserError(
            f'{dataset.name} has {different[fewest]} different images of "{dataset.classes[fewest]}", and {count} '
            "folds need as many: add images, or ask for fewer folds."
        )
