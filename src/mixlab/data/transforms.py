"""Fixed transforms of every image, the same in training, evaluation and prediction.

A transform is applied to normalised images, after all augmentation and mixing.

"permute_patches"             one permutation of the patches
"permute_pixels_in_patches"   one permutation of the pixels within a patch, shared by all patches
"permute_patches_and_pixels"  both
"permute_all_pixels"          one permutation of all pixels

The channels of a pixel are permuted together (Tolstikhin et al. 2021, section 3.4).

Axes:  image, channel, row, column  of a batch
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor

from mixlab.data.rng import epoch_order
from mixlab.errors import UserError

Name = Literal["permute_patches", "permute_pixels_in_patches", "permute_patches_and_pixels", "permute_all_pixels"]

_ALL_PIXELS, _PATCHES, _PIXELS = range(2**63, 2**63 + 3)
"""Streams of random numbers of a seed, other than those of the epochs of a training with the same seed."""


@dataclass(frozen=True)
class Transform:
    """A transform by name.

    `seed`: the seed of the permutations.
    `patch_size`: in pixels; for all but "permute_all_pixels".

    Raises UserError if `patch_size` is missing, or has no effect.
    """

    name: Name
    seed: int = 0
    patch_size: int | None = None

    def __post_init__(self) -> None:
        if (self.name == "permute_all_pixels") != (self.patch_size is None):
            rule = "needs transform.patch_size" if self.patch_size is None else "has no patches: remove patch_size"
            raise UserError(f'transform.name="{self.name}" {rule}, for example patch_size=4 with "permute_patches".')

    def __call__(self, images: Float[Tensor, "image channel row column"]) -> Float[Tensor, "image channel row column"]:
        """Transform normalised images. Raises UserError if `patch_size` does not divide the sides of the images."""
        rows, columns = images.shape[-2:]
        if self.patch_size is None:
            order = self._permutation(_ALL_PIXELS, rows * columns).to(images.device)
            return images.flatten(2)[:, :, order].unflatten(2, (rows, columns))
        size = self.patch_size
        if rows % size or columns % size:
            raise UserError(
                f"transform.patch_size={size} does not divide images of {rows} x {columns} pixels: give a divisor of "
                "both."
            )
        cut = "image channel (row y) (column x) -> image channel (row column) (y x)"
        patches = rearrange(images, cut, y=size, x=size)
        if self.name != "permute_pixels_in_patches":
            patches = patches[:, :, self.patch_order(patches.shape[2]).to(images.device)]
        if self.name != "permute_patches":
            patches = patches[..., self.pixel_order(size * size).to(images.device)]
        merge = "image channel (row column) (y x) -> image channel (row y) (column x)"
        return rearrange(patches, merge, row=rows // size, y=size)

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Transform":
        return cls(**stored)

    def patch_order(self, patches: int) -> Int64[Tensor, " patch"]:
        """The permutation of the patches: the source position of each position."""
        return self._permutation(_PATCHES, patches)

    def pixel_order(self, pixels: int) -> Int64[Tensor, " pixel"]:
        """The permutation of the pixels within a patch, in row-major order: the source position of each position."""
        return self._permutation(_PIXELS, pixels)

    def _permutation(self, stream: int, count: int) -> Int64[Tensor, " position"]:
        """A random permutation of `count` positions; other streams have independent ones."""
        return torch.from_numpy(epoch_order(self.seed, stream, count).astype(np.int64))
