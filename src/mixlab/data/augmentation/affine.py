"""Random rotation, scaling and translation of a batch, on its device.

Axes:  image, channel, row, column  of the batch
       uniform                        the uniform random numbers of an image in an epoch
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional as F

from mixlab.data.augmentation.validation import require

UNIFORMS = 4


@dataclass(frozen=True)
class Affine:
    """Random affine transforms with bilinear interpolation; pixels outside the image repeat its edge.

    `degrees`: rotation angles are uniform in [-degrees, degrees].
    `scale`: scale factors are uniform in [low, high].
    `translate`: shifts are uniform in [-translate, translate], as a fraction of the side.
    """

    degrees: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    translate: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.degrees <= 180, f"affine.degrees={self.degrees}", "between 0 and 180")
        low, high = self.scale
        require(0 < low <= high, f"affine.scale={self.scale}", "(low, high) with 0 < low <= high")
        require(0 <= self.translate < 1, f"affine.translate={self.translate}", "a fraction of the side in [0, 1)")


def apply_affine(
    images: Float[Tensor, "image channel row column"],
    uniforms: Float64[np.ndarray, "image uniform"],
    affine: Affine,
    interpolation: Literal["bilinear", "nearest"] = "bilinear",
) -> Float[Tensor, "image channel row column"]:
    """Transform each image with its own random numbers. `interpolation` is "nearest" for masks."""
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
    # Elementwise, because the rounding of the matrix product in torch's affine_grid depends on the batch size.
    last_row, last_column = (rows - 1) / 2, (columns - 1) / 2
    row = torch.arange(rows, device=images.device)[None, :, None] - last_row - shift_row
    column = torch.arange(columns, device=images.device)[None, None, :] - last_column - shift_column
    # Clamping replaces padding_mode="border", which Apple's MPS does not support.
    from_row = (cosine * row - sine * column).clamp(-last_row, last_row)
    from_column = (cosine * column + sine * row).clamp(-last_column, last_column)
    grid = torch.stack([from_column * (2 / columns), from_row * (2 / rows)], dim=-1)
    return F.grid_sample(images, grid, mode=interpolation, align_corners=False)
