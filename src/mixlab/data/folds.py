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

from mixlab.data.dataset import Dataset, Split
from mixlab.data.holdout import VALIDATION_SHARE, GroupedSplit, group_samples
from mixlab.data.rng import epoch_order
from mixlab.errors import UserError

NO_FOLD = -1
"""The fold of images that are only learned from."""


@dataclass(frozen=True, eq=False)
class Round:
    """Places of images: to fit on, to choose settings on, and to judge. No group is in two of them."""

    train: Int64[np.ndarray, " train_image"]
    validation: Int64[np.ndarray, " validation_image"]
    test: Int64[np.ndarray, " test_image"]


@dataclass(frozen=True, eq=False)
class Folds:
    images: GroupedSplit
    fold_of: Int64[np.ndarray, " image"]

    @property
    def count(self) -> int:
        return int(self.fold_of.max()) + 1

    @property
    def evaluated(self) -> Int64[np.ndarray, " judged_image"]:
        """Places of the images that are judged, each in one round."""
        return np.flatnonzero(self.fold_of != NO_FOLD)

    def rounds(self) -> Iterator[Round]:
        """Validation is a tenth of what a fold leaves, so that settings are chosen without its images."""
        for fold in range(self.count):
            learned = np.flatnonzero(self.fold_of != fold)
            held = self.images.subset(learned).held_out_mask(VALIDATION_SHARE)
            yield Round(learned[~held], learned[held], np.flatnonzero(self.fold_of == fold))


def make_folds(dataset: Dataset, count: int, *, seed: int = 0) -> Folds:
    """Images of all parts take part. Raises UserError where a class has fewer different ones than there are folds."""
    if count < 2:
        raise UserError(f"{count} folds leave nothing to train on: give at least 2.")
    everything = group_samples(reduce(Split.concat, dataset.splits.values()))
    _check_enough(dataset, everything, count)
    return Folds(everything, assign_folds(everything, count, seed))


def single_test_split(dataset: Dataset) -> Folds:
    """One fold: the test part. Images of the other parts are learned from."""
    everything = group_samples(reduce(Split.concat, dataset.splits.values()))
    sizes = [len(split) for split in dataset.splits.values()]
    folds = [0 if name == "test" else NO_FOLD for name in dataset.splits]
    return Folds(everything, np.repeat(np.array(folds, dtype=np.int64), sizes))


def assign_folds(images: GroupedSplit, count: int, seed: int) -> Int64[np.ndarray, " image"]:
    """Large groups first, else in an order that the seed decides: each goes where its classes are rarest so far."""
    members: defaultdict[int, list[int]] = defaultdict(list)
    for place, group in enumerate(images.group_ids.tolist()):
        members[group].append(place)
    group_ids = list(members.values())
    shuffled = [group_ids[index] for index in epoch_order(seed, 0, len(group_ids))]
    labels = images.split.labels
    have = np.zeros((count, int(labels.max()) + 1), dtype=np.int64)  # images of each class in each fold
    fold_of = np.empty(len(labels), dtype=np.int64)
    for group in sorted(shuffled, key=len, reverse=True):
        adds = np.bincount(labels[group], minlength=have.shape[1])
        fold = min(range(count), key=lambda fold: (have[fold] @ adds, have[fold].sum()))
        have[fold] += adds
        fold_of[group] = fold
    return fold_of


def _check_enough(dataset: Dataset, images: GroupedSplit, count: int) -> None:
    different = np.bincount(images.group_labels, minlength=len(dataset.classes))
    fewest = int(different.argmin())
    if different[fewest] < count:
        raise UserError(
            f'{dataset.name} has {different[fewest]} different images of "{dataset.classes[fewest]}", and {count} '
            "folds need as many: add images, or ask for fewer folds."
        )
