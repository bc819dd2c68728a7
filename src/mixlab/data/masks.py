"""The masks of a split, read on access: labels with a class for each pixel.

Axes:  image        an image of a split
       row, column  its pixels
       class        a class of the dataset
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from mixlab.data.mask_file import IGNORED, Mask, MaskCoding, read_mask


@dataclass(frozen=True, eq=False)
class Masks:
    """A mask file for each image. Indexing with an array selects masks; nothing is read.

    `ndim` is that of an array of masks, as of the arrays of labels in its place.
    """

    files: tuple[Path, ...]
    coding: MaskCoding

    ndim = 3

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, indices: Sequence[int] | Int64[np.ndarray, " selected"]) -> "Masks":
        return replace(self, files=tuple(self.files[index] for index in indices))

    def read(self, index: int) -> Mask:
        """The class indices of one mask. Raises UserError if it can't be read, or has other values than the classes."""
        return read_mask(self.files[index], self.coding)

    def concat(self, other: "Masks") -> "Masks":
        """These masks, followed by `other` ones, which have the same coding."""
        return replace(self, files=self.files + other.files)

    def with_other_classes(self, new_index: Int64[np.ndarray, " class"], classes: int) -> "Masks":
        """The masks for other classes, as `mixlab.data.labels.with_other_classes`."""
        return replace(self, coding=self.coding.with_other_classes(new_index, classes))

    def pixel_counts(self) -> Int64[np.ndarray, "image class"]:
        """The number of pixels of each class in each mask. Reads all masks."""
        counts = [np.bincount(self.read(index).ravel(), minlength=IGNORED + 1) for index in range(len(self))]
        return np.array(counts, dtype=np.int64).reshape(len(self), IGNORED + 1)[:, : self.coding.classes]

    def contents(self) -> list[str]:
        """The digests of all files, with the coding."""
        return [
            repr(self.coding),
            *(hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() for file in self.files),
        ]

    def listing(self) -> list[list[str | int]]:
        """The names and sizes in bytes of all files."""
        return [[file.name, file.stat().st_size] for file in self.files]
