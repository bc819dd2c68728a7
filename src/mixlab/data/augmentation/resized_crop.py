"""Crops of images, resized with antialiasing.

Axes:  row, column    pixels of the image
       rows, columns  pixels of the result
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mixlab.data.dataset import ImageSource
from mixlab.data.deep_image import ValueRange
from mixlab.data.image_file import read_reduced_image
from mixlab.data.preprocess import RESAMPLING, Box, FractionalBox, Interpolation

_REDUCTIONS = (8, 4, 2)  # the factors for which libjpeg-turbo has fast transforms
_MARGIN = 2
"""A reduced crop has at least this many times the rows and columns of the result.

The decoder does not reduce an image as the resize does. With 1, single photographs that are sharp at the resolution of
their file differed from the full decode by up to 7 of 255 on average; with 2, by up to 1.8.
"""


def read_resized_crop(
    image: ImageSource,
    box_of: Callable[[int, int], Box],
    size: tuple[int, int],
    interpolation: Interpolation,
    value_range: ValueRange | None = None,
) -> UInt8[Tensor, "3 rows columns"]:
    """Crop an image and resize the crop to `size` (rows, columns), ignoring its aspect ratio.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its resolution if the crop still has twice the rows and columns of `size`
    then.

    `box_of`: maps the rows and columns of the image to the box to crop.
    `value_range`: that of `read_image`.

    Raises UnreadableImage.
    """
    if isinstance(image, np.ndarray):
        return resize_crop(image, box_of(*image.shape[:2]), size, interpolation)
    reduced = read_reduced_image(image, lambda rows, columns: _reduction(box_of(rows, columns), size), value_range)
    box = box_of(reduced.rows, reduced.columns)
    if reduced.factor == 1:
        return resize_crop(reduced.pixels, box, size, interpolation)
    left, top, right, bottom = (side / reduced.factor for side in box)
    return resize_fractional_crop(reduced.pixels, (left, top, right, bottom), size, interpolation)


def _reduction(box: Box, size: tuple[int, int]) -> int:
    left, top, right, bottom = box
    rows, columns = size
    larger = min((bottom - top) / rows, (right - left) / columns)
    return next((factor for factor in _REDUCTIONS if larger >= _MARGIN * factor), 1)


def resize_crop(
    image: UInt8[np.ndarray, "row column 3"], box: Box, size: tuple[int, int], interpolation: Interpolation
) -> UInt8[Tensor, "3 rows columns"]:
    """Resize the pixels of a box, as torchvision does: pixels outside the box have no influence."""
    left, top, right, bottom = box
    crop = torch.from_numpy(image[top:bottom, left:right]).permute(2, 0, 1)
    return F.interpolate(crop[None], size, mode=interpolation, antialias=True)[0]


def resize_fractional_crop(
    image: UInt8[np.ndarray, "row column 3"], box: FractionalBox, size: tuple[int, int], interpolation: Interpolation
) -> UInt8[Tensor, "3 rows columns"]:
    """Resize the pixels of a box with sides between pixels, for which torch has no function, with Pillow."""
    left, top = math.floor(box[0]), math.floor(box[1])
    window = image[top : math.ceil(box[3]), left : math.ceil(box[2])]
    inner = box[0] - left, box[1] - top, box[2] - left, box[3] - top
    rows, columns = size
    resized = Image.fromarray(window).resize((columns, rows), RESAMPLING[interpolation], box=inner)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)
