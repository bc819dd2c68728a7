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

from mixlab.data.dataset import Part, content_digest, stored_bytes
from mixlab.data.rng import epoch_order

TEST_SHARE = 1 / 5
VALIDATION_SHARE = 1 / 10  # of what is not test

_SEED = 0  # not the training's: every seed of a comparison is judged on the same images


@dataclass(frozen=True, eq=False)
class Grouped:
    """A part, and the group of each of its images. A group counts in the class of its first image."""

    part: Part
    groups: Int64[np.ndarray, " image"]

    @property
    def labels_of_groups(self) -> Int64[np.ndarray, " group"]:
        return self.part.labels[np.unique(self.groups, return_index=True)[1]]

    @property
    def contradictions(self) -> int:
        """Groups whose images lie in several classes."""
        pairs = np.unique(np.stack([self.groups, self.part.labels], axis=1), axis=0)
        return int((np.bincount(pairs[:, 0]) > 1).sum())

    def subset(self, indices: Int64[np.ndarray, " chosen"]) -> "Grouped":
        return Grouped(self.part.subset(indices), self.groups[indices])

    def cut(self, share: float) -> "tuple[Part, Grouped]":
        """What is held out, and the rest."""
        held = self.held_out(share)
        return self.part.subset(np.flatnonzero(held)), self.subset(np.flatnonzero(~held))

    def held_out(self, share: float) -> Bool[np.ndarray, " image"]:
        """A `share` of each class's groups, but at least one."""
        group = np.unique(self.groups, return_inverse=True)[1]
        labels = self.labels_of_groups
        chosen = np.zeros(len(labels), dtype=bool)
        for label in np.unique(labels):
            of_class = np.flatnonzero(labels == label)
            count = max(round(share * len(of_class)), 1)
            chosen[of_class[epoch_order(_SEED, int(label), len(of_class))[:count]]] = True
        return chosen[group]

    def with_origins(self) -> "Grouped":
        """What shares a group or an origin is in one group, and so is what such images link."""
        if not self.part.origins:
            return self
        origin = np.unique(np.array(self.part.origins), return_inverse=True)[1]
        size = int(origin.max() + self.groups.max()) + 2
        links = coo_array((np.ones(len(origin)), (origin, origin.max() + 1 + self.groups)), shape=(size, size))
        component = connected_components(links, directed=False)[1]
        return replace(self, groups=component[origin].astype(np.int64))


def grouped(part: Part) -> Grouped:
    """Images with equal bytes or of one origin are in one group."""
    return by_bytes(part).with_origins()


def by_bytes(part: Part) -> Grouped:
    """An image whose size no other has is not read."""
    same_size: defaultdict[int, list[int]] = defaultdict(list)
    for index, image in enumerate(part.images):
        same_size[stored_bytes(image)].append(index)
    alone = {indices[0] for indices in same_size.values() if len(indices) == 1}
    numbers: dict[Hashable, int] = {}
    groups = [
        numbers.setdefault(index if index in alone else content_digest(image), len(numbers))
        for index, image in enumerate(part.images)
    ]
    return Grouped(part, np.array(groups, dtype=np.int64))
