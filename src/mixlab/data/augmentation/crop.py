"""Random crops, in two variants: that of torchvision and timm, and that of TensorFlow.

Both sample a fraction of the image's area and an aspect ratio (width / height), and try again if the crop does not fit.

Axes:  uniform  uniform random numbers of an image in an epoch: shapes of the attempts, position, interpolation
       attempt  attempts to sample a shape that fits into the image
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from mixlab.data.augmentation.validation import require
from mixlab.data.preprocess import Box, Interpolation

ATTEMPTS = 10  # as in torchvision and timm; the 100 of TensorFlow differ only for images of 1 : 15 and narrower
SHAPES = 2 * ATTEMPTS
UNIFORMS = SHAPES + 3

Range = tuple[float, float]
AnyInterpolation = Literal["bilinear", "bicubic", "random"]


@dataclass(frozen=True)
class RandomResizedCrop:
    """The random resized crop of torchvision and timm, after Szegedy et al. 2014.

    `scale`: the fraction of the area is uniform in (low, high).
    `ratio`: the logarithm of width / height is uniform between those of (low, high).
    `interpolation`: "same" as in preprocessing, or "random": bilinear or bicubic, chosen anew for each image.
    """

    scale: Range = (0.08, 1.0)
    ratio: Range = (3 / 4, 4 / 3)
    interpolation: Literal["same", "bilinear", "bicubic", "random"] = "same"

    def __post_init__(self) -> None:
        _check(self, "random_resized_crop")


@dataclass(frozen=True)
class InceptionCrop:
    """TensorFlow's distorted bounding box, with which the Mixers were trained.

    Its crops are smaller than those of torchvision for the same range. They are resized with Pillow's antialiasing,
    unlike TensorFlow's bilinear interpolation.

    `scale`: the height is uniform among those for which the fraction of the area is in (low, high).
    `ratio`: width / height is uniform in (low, high).
    `interpolation`: "same" as in preprocessing, or "random": bilinear or bicubic, chosen anew for each image.
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
    """The interpolation of a crop, where `same` is that of the preprocessing."""
    return same if crop is None or crop.interpolation == "same" else crop.interpolation


def pick_interpolation(interpolation: AnyInterpolation, uniform: float) -> Interpolation:
    """Resolve "random" by a uniform random number."""
    if interpolation == "random":
        return "bilinear" if uniform < 0.5 else "bicubic"
    return interpolation


def sample_shapes(
    area: Range, ratio: Range, uniforms: Float64[np.ndarray, "*image uniform"]
) -> tuple[Float64[np.ndarray, "*image attempt"], Float64[np.ndarray, "*image attempt"]]:
    """The area of each attempt, sampled uniformly, and its ratio, sampled log-uniformly."""
    pairs = uniforms.reshape(*uniforms.shape[:-1], ATTEMPTS, 2)
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    return area[0] + (area[1] - area[0]) * pairs[..., 0], np.exp(log_low + (log_high - log_low) * pairs[..., 1])


def crop_box(
    crop: RandomResizedCrop | InceptionCrop, rows: int, columns: int, uniforms: Float64[np.ndarray, " uniform"]
) -> Box:
    """The box to crop from an image of `rows` and `columns`, in pixels."""
    if isinstance(crop, InceptionCrop):
        return _distorted_box(crop, rows, columns, uniforms)
    return _resized_box(crop, rows, columns, uniforms)


def _resized_box(crop: RandomResizedCrop, rows: int, columns: int, uniforms: Float64[np.ndarray, " uniform"]) -> Box:
    """The first attempt that fits, otherwise the largest central crop with a ratio in range."""
    area, ratio = sample_shapes(crop.scale, crop.ratio, uniforms[:SHAPES])
    area *= rows * columns
    widths, heights = np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))
    fits = (widths > 0) & (widths <= columns) & (heights > 0) & (heights <= rows)
    row_uniform, column_uniform = uniforms[SHAPES : SHAPES + 2]
    if fits.any():
        width, height = widths[fits.argmax()], heights[fits.argmax()]
        left, top = np.floor(column_uniform * (columns - width + 1)), np.floor(row_uniform * (rows - height + 1))
    else:
        ratio = np.clip(columns / rows, *crop.ratio)
        width, height = min(columns, round(rows * ratio)), min(rows, round(columns / ratio))
        left, top = (columns - width) // 2, (rows - height) // 2
    return int(left), int(top), int(left + width), int(top + height)


def _distorted_box(crop: InceptionCrop, rows: int, columns: int, uniforms: Float64[np.ndarray, " uniform"]) -> Box:
    """The first attempt that fits, otherwise the whole image."""
    low_ratio, high_ratio = crop.ratio
    row_uniform, column_uniform = uniforms[SHAPES : SHAPES + 2]
    for ratio_uniform, height_uniform in uniforms[:SHAPES].reshape(ATTEMPTS, 2):
        ratio = low_ratio + (high_ratio - low_ratio) * ratio_uniform
        width, height = _distorted_shape(crop.scale, ratio, rows, columns, height_uniform)
        area = width * height / (rows * columns)
        if crop.scale[0] <= area <= crop.scale[1] and 0 < width <= columns and 0 < height <= rows:
            # As in the reference, a crop never touches the far edge unless it spans the whole side.
            left, top = int(column_uniform * (columns - width)), int(row_uniform * (rows - height))
            return left, top, left + width, top + height
    return 0, 0, columns, rows


def _distorted_shape(scale: Range, ratio: float, rows: int, columns: int, uniform: float) -> tuple[int, int]:
    min_height, max_height = (round(math.sqrt(share * rows * columns / ratio)) for share in scale)
    if round(max_height * ratio) > columns:
        max_height = math.floor((columns + 0.5 - 1e-7) / ratio)
    max_height = min(max_height, rows)
    height = max_height if min_height >= max_height else min_height + int(uniform * (max_height - min_height + 1))
    # Correct heights that rounding has moved just outside the range.
    if round(height * ratio) * height < scale[0] * rows * columns:
        height += 1
    if round(height * ratio) * height > scale[1] * rows * columns:
        height -= 1
    return round(height * ratio), height
