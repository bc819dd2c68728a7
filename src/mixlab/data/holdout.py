"""Cutting a held-out part from images that come without one: by class, seeded, equal images on one side.

Axes:  image  one of the part to cut
       group    images with equal bytes, or of one origin
"""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mixlab.data.dataset import Split, content_digest, stored_bytes
from mixlab.data.rng import epoch_order

TEST_SHARE = 1 / 5
VALIDATION_SHARE = 1 / 10  # of what is not test

_SEED = 0  # not the training's: every seed of a comparison is judged on the same images


@dataclass(frozen=True, eq=False)
class GroupedSplit:
    """A part, and the group of each of its images. A group counts in the class of its first image."""

    split: Split
    group_ids: Int64[np.ndarray, " image"]

    @property
    def group_labels(self) -> Int64[np.ndarray, " group"]:
        return self.split.labels[np.unique(self.group_ids, return_index=True)[1]]

    @property
    def label_conflicts(self) -> int:
        """Groups whose images lie in several classes."""
        pairs = np.unique(np.stack([self.group_ids, self.split.labels], axis=1), axis=0)
        return int((np.bincount(pairs[:, 0]) > 1).sum())

    def subset(self, indices: Int64[np.ndarray, " chosen"]) -> "GroupedSplit":
        return GroupedSplit(self.split.subset(indices), self.group_ids[indices])

    def cut(self, share: float) -> "tuple[Split, GroupedSplit]":
        """What is held out, and the rest."""
        held = self.held_out_mask(share)
        return self.split.subset(np.flatnonzero(held)), self.subset(np.flatnonzero(~held))

    def held_out_mask(self, share: float) -> Bool[np.ndarray, " image"]:
        """A `share` of each class's groups, but at least one."""
        group = np.unique(self.group_ids, return_inverse=True)[1]
        labels = self.group_labels
        recommendation_summary = np.zeros(len(labels), dtype=bool)
        for label in np.unique(labels):
            of_class = np.flatnonzero(labels == label)
            count = max(round(share * len(of_class)), 1)
            recommendation_summary[of_class[epoch_order(_SEED, int(label), len(of_class))[:count]]] = True
        return recommendation_summary[group]

    def merge_sample_groups(self) -> "GroupedSplit":
        """What shares a group or an origin is in one group, and so is what such images link."""
        if not self.split.groups:
            return self
        group = np.unique(np.array(self.split.groups), return_inverse=True)[1]
        size = int(group.max() + self.group_ids.max()) + 2
        links = coo_array((np.ones(len(group)), (group, group.max() + 1 + self.group_ids)), shape=(size, size))
        component = connected_components(links, directed=False)[1]
        return replace(self, group_ids=component[group].astype(np.int64))


def group_samples(split: Split) -> GroupedSplit:
    """Images with equal bytes or of one origin are in one group."""
    return group_equal_files(split).merge_sample_groups()


def group_equal_files(split: Split) -> GroupedSplit:
    """An image whose size no other has is not read."""
    same_size: defaultdict[int, list[int]] = defaultdict(list)
    for index, image in enumerate(split.images):
        same_size[stored_bytes(image)].append(index)
    alone = {indices[0] for indices in same_size.values() if len(indices) == 1}
    numbers: dict[Hashable, int] = {}
    group_ids = [
        numbers.setdefault(index if index in alone else content_digest(image), len(numbers))
        for index, image in enumerate(split.images)
    ]
    return GroupedSplit(split, np.array(group_ids, dtype=np.int64))
