"""Grey images with more than 8 bits per value (16-bit and 32-bit integers, floats), and how they become 8 bits.

A file stores numbers, but not always which number is white: X-rays often have 12 bits in a 16-bit file. The values are
scaled linearly by one range for all images, because a range for each image would change the meaning of brightness.
"""

import logging
from functools import cache
from multiprocessing import parent_process

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

_MIN_USED = 1 / 16  # of a range: with less, at most 17 of 256 shades are left

ValueRange = tuple[int | float, int | float]
"""The stored values of black and white."""

_UNIT, _8_BITS, _16_BITS = (0.0, 1.0), (0.0, 255.0), (0.0, 65535.0)
_BITS_PER_SAMPLE = 258  # a TIFF tag

_log = logging.getLogger("mixlab")


def is_deep(image: Image.Image) -> bool:
    """Whether Pillow stores the values of the image with more than 8 bits."""
    return image.mode.startswith(("I", "F"))


def scale_to_8_bits(image: Image.Image, value_range: ValueRange | None) -> UInt8[np.ndarray, "row column"]:
    """Scale the values of a deep image linearly from `value_range` to [0, 255], and clip them.

    `value_range`: None for `default_range`. NaN and infinite values count as 0.
    """
    values = stored_values(image)
    low, high = value_range or default_range(image, values)
    if uses_little((float(values.min()), float(values.max())), (low, high)):
        _warn_about_range(low, high)
    scaled = (values - low) * (255 / max(high - low, np.finfo(np.float64).tiny))
    return np.round(scaled.clip(0, 255)).astype(np.uint8)


def stored_values(image: Image.Image) -> Float64[np.ndarray, "row column"]:
    """The values of a deep image; NaN and infinite values become 0."""
    return np.nan_to_num(np.array(image, dtype=np.float64), nan=0, posinf=0, neginf=0)


def default_range(image: Image.Image, values: Float64[np.ndarray, "row column"]) -> ValueRange:
    """The range of an image as read from its file, if none is given.

    Integers of up to 16 bits have the range of their type, such as 0 to 4095 for a TIFF with 12 bits per sample. The
    type of other values says nothing about their range. They have the smallest of 0 to 1 (floats only), 0 to 255 and 0
    to 65535 that contains all values of the image, or else the range from its minimum to its maximum.
    """
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        return 0.0, 2.0 ** image.tag_v2[_BITS_PER_SAMPLE][0] - 1  # pyright: ignore[reportAttributeAccessIssue]
    if image.format != "TIFF" and image.mode != "F":  # Pillow scales the integers of all other formats to 16 bits
        return _16_BITS
    low, high = float(values.min()), float(values.max())
    candidates = (_UNIT, _8_BITS, _16_BITS) if image.mode == "F" else (_8_BITS, _16_BITS)
    return next((candidate for candidate in candidates if low >= 0 and high <= candidate[1]), (low, high))


def uses_little(used: ValueRange, value_range: ValueRange) -> bool:
    """Whether images with values in `used` keep few shades in `value_range`; False for a single value."""
    low, high = value_range
    return 0 < used[1] - used[0] < _MIN_USED * (high - low)


def suggested_range(used: ValueRange) -> ValueRange:
    """A range for images with values in `used`: if they begin near 0, from 0 to 1 or to all bits set."""
    low, high = used
    if low < 0 or low > high / 2:
        return low, high
    return _UNIT if high <= 1 else (0.0, 2.0 ** max(int(high).bit_length(), 8) - 1)


@cache
def _warn_about_range(low: float, high: float) -> None:
    """Once per range, and only in the main process, because worker processes are started for every epoch."""
    if parent_process() is None:
        _log.warning(
            f"An image with more than 8 bits uses less than 1/16 of its value range, {low:g} to {high:g}, so few of "
            "its shades are left. `mixlab data check` shows the values of a dataset; set the recipe key "
            "preprocessing.value_range to train with another range."
        )
