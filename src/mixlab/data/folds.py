"""k-fold cross-validation (Stone, 1974): the images in k folds of similar size, each used once as the test set.

Images with equal bytes, near duplicates and images of the same group are in the same fold, and every class is spread
over the folds as evenly as this allows. A single held-out test split is treated as one fold that does not contain every
image.

Axes:  image  an image of the dataset, from any split
       fold     the fold in which an image is tested
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, reduce

import numpy as np
from jaxtyping import Int64

from mixlab.data.dataset import SPLITS, Dataset, Split
from mixlab.data.holdout import VALIDATION_SHARE, GroupedSplit, group_equal_files
from mixlab.data.near_duplicate_groups import group_near_duplicates
from mixlab.data.rng import epoch_order
from mixlab.errors import UserError

NO_FOLD = -1
"""The fold of images that are used for training only."""


@dataclass(frozen=True, eq=False)
class Round:
    """The image indices of one round: `train` to fit, `validation` to choose settings, `test` to evaluate.

    No group is in two of them.
    """

    train: Int64[np.ndarray, " train_image"]
    validation: Int64[np.ndarray, " validation_image"]
    test: Int64[np.ndarray, " test_image"]


@dataclass(frozen=True, eq=False)
class Folds:
    """Images, and the fold of each of them.

    `notes`: sentences for the user about images that are kept in one fold.
    """

    images: GroupedSplit
    fold_of: Int64[np.ndarray, " image"]
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """The number of folds."""
        return int(self.fold_of.max()) + 1

    @property
    def evaluated(self) -> Int64[np.ndarray, " evaluated_image"]:
        """Indices of the images that are evaluated, each in exactly one round."""
        return np.flatnonzero(self.fold_of != NO_FOLD)

    def rounds(self) -> Iterator[Round]:
        """One round per fold. A tenth of the images outside the fold is the validation set."""
        for fold in range(self.count):
            outside = np.flatnonzero(self.fold_of != fold)
            is_validation = self.images.subset(outside).held_out_mask(VALIDATION_SHARE)
            yield Round(outside[~is_validation], outside[is_validation], np.flatnonzero(self.fold_of == fold))


def make_folds(dataset: Dataset, count: int, *, seed: int = 0, quiet: bool = False) -> Folds:
    """Divide the images of all splits into `count` folds. `quiet`: show no progress of the search for near duplicates.

    Raises UserError if `count` is below 2, or if a class has fewer different images than there are folds.
    """
    if count < 2:
        raise UserError(f"folds={count} leaves no {dataset.noun}s to train on: there must be at least 2 folds.")
    everything, notes = _group_all_images(dataset, 2 * count, quiet=quiet)
    _check_enough_images(dataset, everything, count)
    return Folds(everything, assign_folds(everything, count, seed), notes)


@lru_cache(maxsize=1)
def training_folds(dataset: Dataset, count: int) -> Folds:
    """Divide the training images into `count` folds. Raises UserError as `make_folds` does.

    The last result is kept, because all trainings of a cross-validation divide the same images.
    """
    return make_folds(replace(dataset, splits={"train": dataset.splits["train"]}), count, quiet=True)


def single_test_split(dataset: Dataset, *, quiet: bool = False) -> Folds:
    """One fold, which is the test split. The images of the other splits are used for training only."""
    everything, notes = _group_all_images(dataset, len(SPLITS), quiet=quiet)
    sizes = [len(split) for split in dataset.splits.values()]
    folds = [0 if name == "test" else NO_FOLD for name in dataset.splits]
    return Folds(everything, np.repeat(np.array(folds, dtype=np.int64), sizes), notes)


def _group_all_images(dataset: Dataset, min_groups: int, *, quiet: bool) -> tuple[GroupedSplit, tuple[str, ...]]:
    """The images of all splits, with copies, near duplicates and sample groups in one group, and notes about them.

    `min_groups`: near duplicates of a class that would have fewer groups are not in one group.
    """
    images = reduce(Split.concat, dataset.splits.values())
    near = group_near_duplicates(group_equal_files(images), min_groups, quiet=quiet)
    return near.images.merge_sample_groups(), near.notes


def assign_folds(images: GroupedSplit, count: int, seed: int) -> Int64[np.ndarray, " image"]:
    """Assign each group greedily to the fold that has the fewest images of its classes so far.

    Large groups come first; groups of equal size come in a random order that depends on `seed`.
    """
    members: defaultdict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(images.group_ids.tolist()):
        members[group].append(index)
    groups = list(members.values())
    shuffled = [groups[index] for index in epoch_order(seed, 0, len(groups))]
    labels = images.split.labels
    counts = np.zeros((count, int(labels.max()) + 1), dtype=np.int64)  # images of each class in each fold
    fold_of = np.empty(len(labels), dtype=np.int64)
    for group in sorted(shuffled, key=len, reverse=True):
        group_counts = np.bincount(labels[group], minlength=counts.shape[1])
        fold = min(range(count), key=lambda fold: (counts[fold] @ group_counts, counts[fold].sum()))
        counts[fold] += group_counts
        fold_of[group] = fold
    return fold_of


def _check_enough_images(dataset: Dataset, images: GroupedSplit, count: int) -> None:
    groups_per_class = images.groups_per_class(len(dataset.classes))
    rarest = int(groups_per_class.argmin())
    if groups_per_class[rarest] < count:
        noun = dataset.noun
        raise UserError(
            f'{dataset.name} has {groups_per_class[rarest]} different {noun}s of "{dataset.classes[rarest]}", but '
            f"{count} folds need at least {count}: add {noun}s, or use fewer folds."
        )
