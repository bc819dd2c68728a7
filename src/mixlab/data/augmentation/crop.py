"""Where a random crop is cut, in two ways: torchvision's and timm's, and TensorFlow's.

Both aim at a share of the image's area and a width : height, and try again where that does not fit.

Axes:  draw     uniform numbers that belong to an image in an epoch: the attempts' shapes, the place, the interpolation
       attempt  at a shape that fits into the image
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from mixlab.data.augmentation.validation import require
from mixlab.data.preprocess import Box, Interpolation

ATTEMPTS = 10  # as torchvision and timm; TensorFlow makes 100, which matters for strips of 1 : 15 and longer only
SHAPES = 2 * ATTEMPTS
UNIFORMS = SHAPES + 3

Range = tuple[float, float]
AnyInterpolation = Literal["bilinear", "bicubic", "random"]


@dataclass(frozen=True)
class RandomResizedCrop:
    """The area's share is uniform in `scale`, the logarithm of width : height within `ratio`, the place anywhere.

    Szegedy et al. 2014 as torchvision and timm have it. `interpolation`: "same" is the preprocessing's, "random" is
    bilinear or bicubic, for each image anew.
    """

    scale: Range = (0.08, 1.0)
    ratio: Range = (3 / 4, 4 / 3)
    interpolation: Literal["same", "bilinear", "bicubic", "random"] = "same"

    def __post_init__(self) -> None:
        _check(self, "random_resized_crop")


@dataclass(frozen=True)
class InceptionCrop:
    """The height is uniform among those whose area is within `scale`, and width : height is uniform in `ratio`.

    TensorFlow's distorted bounding box, whose crops are smaller than torchvision's of the same range, and of which the
    Mixers learnt. Resized with Pillow's antialiasing, which TensorFlow's bilinear has not.
    """

    scale: Range = (0.05, 1.0)
    ratio: Range = (0.75, 1.33)
    interpolation: Literal["same", "bilinear", "bicubic", "random"] = "same"

    def __post_init__(self) -> None:
        _check(self, "inception_crop")


def _check(crop: RandomResizedCrop | InceptionCrop, name: str) -> None:
    low, high = crop.scale
    require(0 < low <= high <= 1, f"{name}.scale={crop.scale}", "(low, high) with 0 < low <= high <= 1")
    low, high = crop.ratio
    require(0 < low <= high, f"{name}.ratio={crop.ratio}", "(low, high) with 0 < low <= high")


def interpolation_of(crop: RandomResizedCrop | InceptionCrop | None, same: Interpolation) -> AnyInterpolation:
    return same if crop is None or crop.interpolation == "same" else crop.interpolation


def pick_interpolation(interpolation: AnyInterpolation, draw: float) -> Interpolation:
    if interpolation == "random":
        return "bilinear" if draw < 0.5 else "bicubic"
    return interpolation


def sample_shapes(
    area: Range, ratio: Range, uniforms: Float64[np.ndarray, "*image draw"]
) -> tuple[Float64[np.ndarray, "*image attempt"], Float64[np.ndarray, "*image attempt"]]:
    """Each attempt's area, uniform, and its ratio, whose logarithm is uniform."""
    pairs = uniforms.reshape(*uniforms.shape[:-1], ATTEMPTS, 2)
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    return area[0] + (area[1] - area[0]) * pairs[..., 0], np.exp(log_low + (log_high - log_low) * pairs[..., 1])


def crop_box(
    crop: RandomResizedCrop | InceptionCrop, rows: int, columns: int, uniforms: Float64[np.ndarray, " draw"]
) -> Box:
    """Where to crop an image of that size."""
    if isinstance(crop, InceptionCrop):
        return _distorted_box(crop, rows, columns, uniforms)
    return _resized_box(crop, rows, columns, uniforms)


def _resized_box(crop: RandomResizedCrop, rows: int, columns: int, uniforms: Float64[np.ndarray, " draw"]) -> Box:
    """The first attempt that fits, else the largest central one of an allowed ratio."""
    area, ratio = sample_shapes(crop.scale, crop.ratio, uniforms[:SHAPES])
    area *= rows * columns
    widths, heights = np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))
    fits = (widths > 0) & (widths <= columns) & (heights > 0) & (heights <= rows)
    row_draw, column_draw = uniforms[SHAPES : SHAPES + 2]
    if fits.any():
        width, height = widths[fits.argmax()], heights[fits.argmax()]
        left, top = np.floor(column_draw * (columns - width + 1)), np.floor(row_draw * (rows - height + 1))
    else:
        whole = np.clip(columns / rows, *crop.ratio)
        width, height = min(columns, round(rows * whole)), min(rows, round(columns / whole))
        left, top = (columns - width) // 2, (rows - height) // 2
    return int(left), int(top), int(left + width), int(top + height)


def _distorted_box(crop: InceptionCrop, rows: int, columns: int, uniforms: Float64[np.ndarray, " draw"]) -> Box:
    """The first attempt that fits, else the whole image."""
    low_ratio, high_ratio = crop.ratio
    row_draw, column_draw = uniforms[SHAPES : SHAPES + 2]
    for ratio_draw, height_draw in uniforms[:SHAPES].reshape(ATTEMPTS, 2):
        ratio = low_ratio + (high_ratio - low_ratio) * ratio_draw
        width, height = _distorted_shape(crop.scale, ratio, rows, columns, height_draw)
        area = width * height / (rows * columns)
        if crop.scale[0] <= area <= crop.scale[1] and 0 < width <= columns and 0 < height <= rows:
            # Never at the far edge, unless it spans the side: the reference draws below the room, not up to it.
            left, top = int(column_draw * (columns - width)), int(row_draw * (rows - height))
            return left, top, left + width, top + height
    return 0, 0, columns, rows


def _distorted_shape(scale: Range, ratio: float, rows: int, columns: int, draw: float) -> tuple[int, int]:
    least, most = (round(math.sqrt(share * rows * columns / ratio)) for share in scale)
    if round(most * ratio) > columns:
        most = math.floor((columns + 0.5 - 1e-7) / ratio)
    most = min(most, rows)
    height = most if least >= most else least + int(draw * (most - least + 1))
    # What rounding has put just outside the range is put back.
    if round(height * ratio) * height < scale[0] * rows * columns:
        height += 1
    if round(height * ratio) * height > scale[1] * rows * columns:
        height -= 1
    return round(height * ratio), height
