"""Mask files: the class of each pixel of an image, as stored values or colours.

Axes:  row, column  pixels of an image
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from mixlab.errors import UserError
from mixlab.files import read_reason
from mixlab.report.text import pluralize

IGNORED = 255
"""The class index of pixels that are neither learned nor counted."""

MAX_CLASSES = 254
"""The largest number of classes. Class indices are stored in uint8, next to `IGNORED` and a mark for unknown values."""

Mask = UInt8[np.ndarray, "row column"]
"""The class index of each pixel, or `IGNORED`."""

Colour = tuple[int, int, int]
"""Red, green and blue from 0 to 255."""

_UNKNOWN = 254
_VALUE_MODES = ("1", "L", "P", "I;16", "I")
_FORMATS = ("PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG")  # JPEG to say what is wrong with it


@dataclass(frozen=True)
class MaskCoding:
    """How class indices are stored in mask files.

    classes     the number of classes
    of_value    stored value -> class index or `IGNORED`
    of_colour   colour -> class index or `IGNORED`; empty: masks have values
    """

    classes: int
    of_value: Mapping[int, int]
    of_colour: Mapping[Colour, int]

    def with_other_classes(self, new_index: Int64[np.ndarray, " class"], classes: int) -> "MaskCoding":
        """The coding for other classes: `new_index` of each class, -1 for classes that no image has."""

        def renamed(index: int) -> int:
            return IGNORED if index == IGNORED else int(new_index[index])

        of_value = {value: renamed(index) for value, index in self.of_value.items()}
        of_colour = {colour: renamed(index) for colour, index in self.of_colour.items()}
        return replace(self, classes=classes, of_value=of_value, of_colour=of_colour)


def read_mask(file: Path, coding: MaskCoding) -> Mask:
    """The class indices of a mask file. Raises UserError if it can't be read, or has other values than the classes."""
    stored = read_stored(file, colours=coding.of_colour)
    return _classes_of_colours(file, stored, coding) if stored.ndim == 3 else _classes_of_values(file, stored, coding)


def read_stored(file: Path, *, colours: Mapping[Colour, int]) -> np.ndarray:
    """The stored values (row, column), or with `colours` the colours (row, column, 3), of a mask file.

    Raises UserError if it can't be read, or is a photograph.
    """
    with _opened(file, colours) as image:
        return np.array(image.convert("RGB") if colours else image)


def mask_size(file: Path, *, colours: Mapping[Colour, int]) -> tuple[int, int]:
    """(rows, columns) of a mask file, whose pixels are not decoded. Raises UserError as `read_stored`."""
    with _opened(file, colours) as image:
        return image.height, image.width


@contextmanager
def _opened(file: Path, colours: Mapping[Colour, int]) -> Iterator[Image.Image]:
    try:
        with Image.open(file, formats=_FORMATS) as image:
            _require_mask(file, image, colours)
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # as Pillow's decoders raise
        reason = read_reason(error) if isinstance(error, OSError) else None
        raise UserError(f"The mask {file} can't be read ({reason or error}): save it again as PNG.") from error


def _require_mask(file: Path, image: Image.Image, colours: Mapping[Colour, int]) -> None:
    if image.format in ("JPEG", "MPO"):
        raise UserError(
            f"The mask {file} is a JPEG, whose compression changes the values of pixels: save masks as PNG."
        )
    if not colours and image.mode not in _VALUE_MODES:
        raise UserError(
            f"The mask {file} has colours ({image.mode}), but no class has one: write a colour behind each class in "
            "classes.txt, such as road 128 64 128, or save the index of the class in each pixel."
        )


def _classes_of_values(file: Path, stored: np.ndarray, coding: MaskCoding) -> Mask:
    table = np.full(65536, _UNKNOWN, dtype=np.uint8)
    for value, index in coding.of_value.items():
        table[value] = index
    values = stored.astype(np.int64)
    classes = table[np.clip(values, 0, 65535)]
    if (unknown := (classes == _UNKNOWN) | (values < 0)).any():
        found = [str(value) for value in np.unique(values[unknown])[:5]]
        raise UserError(
            f"The mask {file} has the {'value' if len(found) == 1 else 'values'} {', '.join(found)} in "
            f"{pluralize(int(unknown.sum()), 'pixel')}, which no class has: correct the mask, or add the missing lines "
            "to classes.txt (ignored for what is not to be learned)."
        )
    return classes


def _classes_of_colours(file: Path, stored: np.ndarray, coding: MaskCoding) -> Mask:
    packed = stored.astype(np.int64) @ (65536, 256, 1)
    colours, inverse = np.unique(packed, return_inverse=True)
    of_packed = {red * 65536 + green * 256 + blue: index for (red, green, blue), index in coding.of_colour.items()}
    indices = np.array([of_packed.get(colour, _UNKNOWN) for colour in colours.tolist()], dtype=np.uint8)
    if (indices == _UNKNOWN).any():
        first = int(colours[(indices == _UNKNOWN).argmax()])
        raise UserError(
            f"The mask {file} has the colour {first >> 16} {first >> 8 & 255} {first & 255}, which no class in "
            "classes.txt has: add a line for it (ignored for what is not to be learned)."
        )
    return indices[inverse.reshape(packed.shape)]
