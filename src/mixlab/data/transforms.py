"""Fixed transforms of every image, the same in training, evaluation and prediction.

A transform is applied to normalised images, after all augmentation and mixing.

"permute_patches"  one permutation of the patches, and one of the pixels within a patch, shared by all patches
"permute_pixels"   one permutation of all pixels

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

Name = Literal["permute_patches", "permute_pixels"]


@dataclass(frozen=True)
class Transform:
    """A transform by name.

    `seed`: the seed of the permutations.
    `patch_size`: in pixels; for "permute_patches" only.

    Raises UserError if `patch_size` is missing, or has no effect.
    """

    name: Name
    seed: int = 0
    patch_size: int | None = None

    def __post_init__(self) -> None:
        if (self.name == "permute_patches") != (self.patch_size is not None):
            rule = "needs transform.patch_size" if self.patch_size is None else "has no patches: remove patch_size"
            raise UserError(f'transform.name="{self.name}" {rule}, for example patch_size=4 with "permute_patches".')

    def __call__(self, images: Float[Tensor, "image channel row column"]) -> Float[Tensor, "image channel row column"]:
        """Transform normalised images. Raises UserError if `patch_size` does not divide the sides of the images."""
        rows, columns = images.shape[-2:]
        if self.patch_size is None:
            order = self._permutation(rows * columns).to(images.device)
            return images.flatten(2)[:, :, order].unflatten(2, (rows, columns))
        size = self.patch_size
        if rows % size or columns % size:
            raise UserError(
                f"transform.patch_size={size} does not divide images of {rows} x {columns} pixels: give a divisor of "
                "both."
            )
        cut = "image channel (row y) (column x) -> image channel (row column) (y x)"
        patches = rearrange(images, cut, y=size, x=size)
        patch_order, pixel_order = self._permutation(patches.shape[2]), self._permutation(size * size)
        patches = patches[:, :, patch_order.to(images.device)][..., pixel_order.to(images.device)]
        merge = "image channel (row column) (y x) -> image channel (row y) (column x)"
        return rearrange(patches, merge, row=rows // size, y=size)

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Transform":
        return cls(**stored)

    def _permutation(self, count: int) -> Int64[Tensor, " position"]:
        """A random permutation of `count` positions: the source position of each position."""
        return torch.from_numpy(epoch_order(self.seed, 0, count).astype(np.int64))
