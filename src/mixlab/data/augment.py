"""Augmentation whose draws belong to the picture: who else is in the batch, or which worker reads it, changes nothing.

Two stages. A random resized crop works on the decoded uint8 picture, one at a time, before it is resized. Flip, affine
and padded crop work on the whole batch of normalised float pictures, on whatever device it is.

Axes:  picture      one of a batch
       row, column  pixels
       draw         one of the `DRAWS` uniform numbers that belong to a picture in an epoch
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional as F

from mixlab.data.preprocess import Box
from mixlab.errors import UserError

_ATTEMPTS = 10  # at a crop that fits into the picture, as torchvision's RandomResizedCrop

# Each augmentation has its own columns of draws, so switching one on leaves the others as they were.
_FLIP = 0
_AFFINE = slice(1, 5)
_PAD_CROP = slice(5, 7)
_CROP_SHAPE = slice(7, 7 + 2 * _ATTEMPTS)
_CROP_PLACE = slice(_CROP_SHAPE.stop, _CROP_SHAPE.stop + 2)
DRAWS = _CROP_PLACE.stop


@dataclass(frozen=True)
class Affine:
    """Rotation within ± degrees, scaling in [low, high], shifts within ± that share of a side; edges repeat."""

    degrees: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    translate: float = 0.0

    def __post_init__(self) -> None:
        _check(0 <= self.degrees <= 180, f"affine.degrees={self.degrees}", "between 0 and 180")
        _check(0 < self.scale[0] <= self.scale[1], f"affine.scale={self.scale}", "(low, high) with 0 < low <= high")
        _check(
            0 <= self.translate < 1, f"affine.translate={self.translate}", "a share of the side, at least 0, below 1"
        )


@dataclass(frozen=True)
class RandomResizedCrop:
    """A crop of a share of the area within `scale`, of a width : height within `ratio` (Szegedy et al. 2014)."""

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        low, high = self.scale
        _check(0 < low <= high <= 1, f"random_resized_crop.scale={self.scale}", "(low, high) with 0 < low <= high <= 1")
        low, high = self.ratio
        _check(0 < low <= high, f"random_resized_crop.ratio={self.ratio}", "(low, high) with 0 < low <= high")


@dataclass(frozen=True)
class Augmentation:
    """`flip` mirrors half of the pictures; `pad_crop` shifts by up to that many pixels, edges reflected."""

    flip: bool = False
    affine: Affine | None = None
    pad_crop: int = 0
    random_resized_crop: RandomResizedCrop | None = None

    def __post_init__(self) -> None:
        _check(self.pad_crop >= 0, f"pad_crop={self.pad_crop}", "a number of pixels, at least 0")


def _check(possible: bool, setting: str, rule: str) -> None:  # noqa: FBT001  the condition itself
    if not possible:
        raise UserError(f"augmentation.{setting} is not possible: it must be {rule}.")


def crop_box(crop: RandomResizedCrop, rows: int, columns: int, draws: Float64[np.ndarray, " draw"]) -> Box:
    """Where to crop a picture of that size: the first attempt that fits, else the largest central one allowed."""
    area_draw, ratio_draw = draws[_CROP_SHAPE].reshape(_ATTEMPTS, 2).T
    low, high = crop.scale
    area = rows * columns * (low + (high - low) * area_draw)
    log_low, log_high = np.log(crop.ratio)
    ratio = np.exp(log_low + (log_high - log_low) * ratio_draw)
    widths, heights = np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))
    fits = (widths > 0) & (widths <= columns) & (heights > 0) & (heights <= rows)
    row_draw, column_draw = draws[_CROP_PLACE]
    if fits.any():
        width, height = widths[fits.argmax()], heights[fits.argmax()]
        left, top = np.floor(column_draw * (columns - width + 1)), np.floor(row_draw * (rows - height + 1))
    else:
        whole = np.clip(columns / rows, *crop.ratio)
        width, height = min(columns, round(rows * whole)), min(rows, round(columns / whole))
        left, top = (columns - width) // 2, (rows - height) // 2
    return int(left), int(top), int(left + width), int(top + height)


def augmented(
    images: Float[Tensor, "picture channel row column"],
    draws: Float64[np.ndarray, "picture draw"],
    augmentation: Augmentation,
) -> Float[Tensor, "picture channel row column"]:
    """The batch's stage: each picture flipped, moved and shifted by its own draws, in that order."""
    if augmentation.flip:
        flip = torch.from_numpy(draws[:, _FLIP] < 0.5).to(images.device)
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    if augmentation.affine is not None:
        images = _moved(images, draws[:, _AFFINE], augmentation.affine)
    if augmentation.pad_crop:
        images = _shifted(images, draws[:, _PAD_CROP], augmentation.pad_crop)
    return images


def _moved(
    images: Float[Tensor, "picture channel row column"], draws: Float64[np.ndarray, "picture 4"], affine: Affine
) -> Float[Tensor, "picture channel row column"]:
    rows, columns = images.shape[-2:]
    centred = 2 * draws - 1
    angle = np.deg2rad(affine.degrees) * centred[:, 0]
    low, high = affine.scale
    scale = low + (high - low) * draws[:, 1]
    shift_row, shift_column = affine.translate * rows * centred[:, 2], affine.translate * columns * centred[:, 3]
    cosine, sine, shift_row, shift_column = (
        torch.from_numpy(values).float().to(images.device)[:, None, None]
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


def _shifted(
    images: Float[Tensor, "picture channel row column"], draws: Float64[np.ndarray, "picture 2"], pad: int
) -> Float[Tensor, "picture channel row column"]:
    rows, columns = images.shape[-2:]
    offsets = torch.from_numpy(np.floor(draws * (2 * pad + 1)).astype(np.int64)).to(images.device)
    padded = F.pad(images, (pad, pad, pad, pad), mode="reflect")
    picture = torch.arange(len(images), device=images.device)[:, None, None]
    row = (offsets[:, :1] + torch.arange(rows, device=images.device))[:, :, None]
    column = (offsets[:, 1:] + torch.arange(columns, device=images.device))[:, None, :]
    return padded.movedim(1, -1)[picture, row, column].movedim(-1, 1)
