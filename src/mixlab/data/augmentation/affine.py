"""Rotation, scaling and shifting of a whole batch, on the device that it is on.

Axes:  image, channel, row, column  of the batch
       draw                           uniform numbers that belong to an image in an epoch
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional as F

from mixlab.data.augmentation.validation import require

UNIFORMS = 4


@dataclass(frozen=True)
class Affine:
    """Rotation within ± degrees, scaling in [low, high], shifts within ± that share of a side; edges repeat."""

    degrees: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    translate: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.degrees <= 180, f"affine.degrees={self.degrees}", "between 0 and 180")
        low, high = self.scale
        require(0 < low <= high, f"affine.scale={self.scale}", "(low, high) with 0 < low <= high")
        require(
            0 <= self.translate < 1, f"affine.translate={self.translate}", "a share of the side, at least 0, below 1"
        )


def apply_affine(
    images: Float[Tensor, "image channel row column"], uniforms: Float64[np.ndarray, "image draw"], affine: Affine
) -> Float[Tensor, "image channel row column"]:
    rows, columns = images.shape[-2:]
    centred = 2 * uniforms - 1
    angle = np.deg2rad(affine.degrees) * centred[:, 0]
    low, high = affine.scale
    scale = low + (high - low) * uniforms[:, 1]
    shift_row, shift_column = affine.translate * rows * centred[:, 2], affine.translate * columns * centred[:, 3]
    cosine, sine, shift_row, shift_column = (
        torch.from_numpy(values).to(images.dtype).to(images.device)[:, None, None]
        for values in (np.cos(angle) / scale, np.sin(angle) / scale, shift_row, shift_column)
    )
    # Elementwise rather than torch's affine_grid, whose matrix product rounds by the size of the batch.
    last_row, last_column = (rows - 1) / 2, (columns - 1) / 2
    row = torch.arange(rows, device=images.device)[None, :, None] - last_row - shift_row
    column = torch.arange(columns, device=images.device)[None, None, :] - last_column - shift_column
    # Clamped here rather than by padding_mode="border", which Apple's MPS does not have.
    from_row = (cosine * row - sine * column).clamp(-last_row, last_row)
    from_column = (cosine * column + sine * row).clamp(-last_column, last_column)
    grid = torch.stack([from_column * (2 / columns), from_row * (2 / rows)], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", align_corners=False)
