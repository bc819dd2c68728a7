"""Grey images with more than 8 bits per value (16-bit and 32-bit integers, floats), and how they become 8 bits.

A file stores numbers, but not always which number is white: X-rays often have 12 bits in a 16-bit file. The values are
scaled linearly by one range for all images of a dataset (`mixlab.data.value_range`), because a range for each image
would change the meaning of brightness.
"""

import logging
from collections.abc import Iterable
from functools import cache
from multiprocessing import parent_process

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

_MIN_USED = 1 / 16  # of a range: with less, at most 17 of 256 shades are left

ValueRange = tuple[int | float, int | float]
"""The stored values of black and white."""

_UNIT = (0.0, 1.0)
_16_BITS = (0.0, 65535.0)
_INTEGERS = [*((0.0, 2.0**bits - 1) for bits in (8, 10, 12, 14)), _16_BITS]  # of sensors and files
_SCALED_BY_PILLOW = ("PPM", "JPEG2000")  # to 16 bits, from the white or the bits that the file declares
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
    used = float(values.min()), float(values.max())
    if uses_little(used, (low, high)):
        _warn_about_range("uses less than 1/16 of its", low, high, "so few of its shades are left")
    if union([used, (low, high)]) != (low, high):
        _warn_about_range("has values outside the", low, high, "which become black or white")
    scaled = (values - low) * (255 / max(high - low, np.finfo(np.float64).tiny))
    return np.round(scaled.clip(0, 255)).astype(np.uint8)


def stored_values(image: Image.Image) -> Float64[np.ndarray, "row column"]:
    """The values of a deep image; NaN and infinite values become 0."""
    return np.nan_to_num(np.array(image, dtype=np.float64), nan=0, posinf=0, neginf=0)


def default_range(image: Image.Image, values: Float64[np.ndarray, "row column"]) -> ValueRange:
    """The range of an image as read from its file, if none is given.

    A PPM, a JPEG 2000 file, and a TIFF with fewer than 16 bits per sample have the range that they declare, such as 0
    to 4095 for 12 bits. Other files do not say how many of their bits are used: they have the smallest range of 8, 10,
    12, 14 or 16 bits that contains all values, or 0 to 1 for floats, or else the range from the minimum to the maximum.
    """
    if image.format in _SCALED_BY_PILLOW and image.mode != "F":  # the floats of a PFM, a kind of PPM, are not scaled
        return _16_BITS
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        bits = image.tag_v2[_BITS_PER_SAMPLE][0]  # pyright: ignore[reportAttributeAccessIssue]
        if bits < 16:
            return 0.0, 2.0**bits - 1
    low, high = float(values.min()), float(values.max())
    candidates = [_UNIT, *_INTEGERS] if image.mode == "F" else _INTEGERS
    return next((candidate for candidate in candidates if low >= 0 and high <= candidate[1]), (low, high))


def uses_little(used: ValueRange, value_range: ValueRange) -> bool:
    """Whether images with values in `used` keep few shades in `value_range`; False for a single value."""
    low, high = value_range
    return 0 < used[1] - used[0] < _MIN_USED * (high - low)


def union(ranges: Iterable[ValueRange]) -> ValueRange:
    """The smallest range that contains all of `ranges`, at least one."""
    blacks, whites = zip(*ranges, strict=True)
    return min(blacks), max(whites)


@cache
def _warn_about_range(problem: str, low: int | float, high: int | float, effect: str) -> None:
    """Once per problem and range, and only in the main process, because worker processes start in every epoch."""
    if parent_process() is None:
        _log.warning(
            f"An image with more than 8 bits {problem} value range, {low:g} to {high:g}, {effect}. `mixlab data check` "
            "shows the values of a dataset; set the recipe key preprocessing.value_range to train with another range."
        )
