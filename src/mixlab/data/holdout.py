"""Stratified holdout: move a share of the images of each class to a held-out split, with a fixed seed.

Images with equal bytes or of the same group stay on the same side.

Axes:  image  an image of the split to divide
       group    images with equal bytes, or of the same sample group
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int64

from mixlab.data.components import component_of
from mixlab.data.dataset import EMPTY_DIGEST, Split, content_digest, stored_bytes
from mixlab.data.rng import epoch_order

TEST_SHARE = 1 / 5
VALIDATION_SHARE = 1 / 10  # of the images that are not in test

_SEED = 0  # independent of the training seed, so that runs with different seeds are evaluated on the same images


@dataclass(frozen=True, eq=False)
class GroupedSplit:
    """A split, and the group of each of its images.

    The class of a group is the rarest one of its images, so that images of every class are held out even if the groups
    contain several classes.
    """

    split: Split
    group_ids: Int64[np.ndarray, " image"]

    @property
    def group_labels(self) -> Int64[np.ndarray, " group"]:
        """The label of each group."""
        images_of_label = np.bincount(self.split.labels)[self.split.labels]
        by_group = np.lexsort((images_of_label, self.group_ids))  # stable, so the first image decides between equals
        return self.split.labels[by_group[np.unique(self.group_ids[by_group], return_index=True)[1]]]

    def groups_per_class(self, classes: int) -> Int64[np.ndarray, " class"]:
        """The number of groups that contain an image of each class."""
        return np.bincount(self._groups_and_labels[:, 1], minlength=classes)

    @property
    def label_conflicts(self) -> int:
        """The number of groups with images of several classes."""
        return int((np.bincount(self._groups_and_labels[:, 0]) > 1).sum())

    @property
    def _groups_and_labels(self) -> Int64[np.ndarray, "pair 2"]:
        """Every combination of a group and a label that an image has."""
        return np.unique(np.stack([self.group_ids, self.split.labels], axis=1), axis=0)

    def subset(self, indices: Int64[np.ndarray, " selected"]) -> "GroupedSplit":
        """The images at `indices`, in that order."""
        return GroupedSplit(self.split.subset(indices), self.group_ids[indices])

    def cut(self, share: float) -> "tuple[Split, GroupedSplit]":
        """Return the held-out images and the remaining ones; `share` is the held-out fraction of each class."""
        held_out = self.held_out_mask(share)
        return self.split.subset(np.flatnonzero(held_out)), self.subset(np.flatnonzero(~held_out))

    def held_out_mask(self, share: float) -> Bool[np.ndarray, " image"]:
        """True for the images to hold out: a fraction `share` of the groups of each class, and at least one."""
        group = np.unique(self.group_ids, return_inverse=True)[1]
        labels = self.group_labels
        held_out = np.zeros(len(labels), dtype=bool)
        for label in np.unique(labels):
            of_class = np.flatnonzero(labels == label)
            count = max(round(share * len(of_class)), 1)
            held_out[of_class[epoch_order(_SEED, int(label), len(of_class))[:count]]] = True
        return held_out[group]

    def link(self, pairs: Sequence[tuple[int, int]]) -> "GroupedSplit":
        """Merge the groups of linked images; `pairs` has their indices."""
        if not pairs:
            return self
        component = component_of(self.group_ids[np.array(pairs)], int(self.group_ids.max()) + 1)
        return replace(self, group_ids=component[self.group_ids])

    def merge_sample_groups(self) -> "GroupedSplit":
        """Merge groups with a common sample group (`Split.groups`), directly or through other images."""
        if not self.split.groups:
            return self
        first_of: dict[str, int] = {}
        return self.link([(first_of.setdefault(group, index), index) for index, group in enumerate(self.split.groups)])


def group_samples(split: Split) -> GroupedSplit:
    """Group images that have equal bytes or the same sample group."""
    return group_equal_files(split).merge_sample_groups()


def group_equal_files(split: Split) -> GroupedSplit:
    """Group images that have equal bytes. Only files that share their size with another file are read.

    A file that is empty or can't be read is not a copy of another one.
    """
    same_size: defaultdict[int, list[int]] = defaultdict(list)
    for index, image in enumerate(split.images):
        same_size[stored_bytes(image)].append(index)
    unique_size = {indices[0] for indices in same_size.values() if len(indices) == 1}
    numbers: dict[Hashable, int] = {}
    group_ids = []
    for index, image in enumerate(split.images):
        digest = EMPTY_DIGEST if index in unique_size else content_digest(image)
        group_ids.append(numbers.setdefault(index if digest == EMPTY_DIGEST else digest, len(numbers)))
    return GroupedSplit(split, np.array(group_ids, dtype=np.int64))
