"""Decoding of image files to uint8 (row, column, RGB).

The EXIF orientation is applied, transparent pixels are blended with white, and the first frame of an animation is used.
"""

import ctypes
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from mixlab.errors import UserError

MAX_PIXELS = 2**28
"""Larger images are rejected by their header, before decoding. Phone cameras reach 200 million pixels."""

# An explicit list, because other formats of Pillow run external programs (EPS starts Ghostscript). JPEG includes MPO.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}  # ISO/IEC 23008-12, annex B

_POINTERS = {b"version https://git-lfs.github.com/spec/": "Git LFS", b"/annex/objects/": "git-annex"}
"""How a text file begins that stands for a file whose content was not fetched."""

_ORIENTATION_FIXES = {  # EXIF orientation -> the transpose that undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(UserError):  # noqa: N818  named for the image that it describes
    """Raised when an image can't be decoded.

    `image`: the name of the file.
    `reason`: a clause such as "it is empty".
    """

    def __init__(self, image: str, reason: str):
        super().__init__(image, reason)
        self.image, self.reason = image, reason

    def __str__(self) -> str:
        return f"{self.image} can't be read: {self.reason}."


@runtime_checkable
class ReadableFile(Protocol):
    """An image file: a Path, or a file inside a container. `str` gives its name for error messages."""

    def read_bytes(self) -> bytes: ...


def read_image(source: ReadableFile | bytes) -> UInt8[np.ndarray, "row column 3"]:
    """Decode an image file, or the content of one. Raises UnreadableImage."""
    if isinstance(source, bytes):
        return _decode_or_explain(source, f"the image of {len(source):,} bytes")
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UnreadableImage(str(source), (error.strerror or str(error)).lower()) from error
    return _decode_or_explain(content, str(source))


def _decode_or_explain(content: bytes, image: str) -> UInt8[np.ndarray, "row column 3"]:
    try:
        with _pillow_limits():
            return _decode(content)
    except UnidentifiedImageError:
        reason = _reason_for_no_image(content)
    except Image.DecompressionBombError:
        reason = f"it has more than {MAX_PIXELS:,} pixels, the maximum that mixlab decodes"
    except ModuleNotFoundError:
        reason = 'it is a HEIC image, which needs an optional dependency: pip install "mixlab[data]"'
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error ... on damaged files
        reason = f"it is damaged or truncated ({error})"
    raise UnreadableImage(image, reason)


def _reason_for_no_image(content: bytes) -> str:
    for beginning, program in _POINTERS.items():
        if content.startswith(beginning):
            return f"it is a pointer of {program}, whose content was not fetched"
    return "it is not an image in a supported format" if content else "it is empty"


@contextmanager
def _pillow_limits() -> Iterator[None]:
    """Set Pillow's limit to half of `MAX_PIXELS`, since it raises above twice its limit, and ignore its warnings."""
    previous, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS // 2
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = previous


def _decode(content: bytes) -> UInt8[np.ndarray, "row column 3"]:
    with _open(content) as image:
        image.load()
        return _to_rgb(_apply_orientation(image))


def _open(content: bytes) -> Image.Image:
    Image.init()
    _silence_libtiff()
    formats = [name for name in _FORMATS if name in Image.OPEN]  # not every build of Pillow has AVIF and JPEG 2000
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
        import pillow_heif

        pillow_heif.register_heif_opener()
        formats.append("HEIF")
    return Image.open(BytesIO(content), formats=formats)


@cache
def _silence_libtiff() -> None:
    """Remove the handlers that print messages about damaged and unusual TIFFs to standard error.

    Pillow raises an error for a file that it can't decode. It has no setting for the messages. On Windows, its libtiff
    exports no functions.
    """
    pillow = ctypes.CDLL(Image.core.__file__)  # finds the functions of the libraries that it is linked to
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if set_handler := getattr(pillow, name, None):
            set_handler(None)


def image_kinds(content: bytes) -> tuple[str, ...]:
    """Unusual properties of a readable image file, such as "CMYK"; empty for a plain 8-bit RGB image."""
    with _pillow_limits(), _open(content) as image:
        kinds = {
            "grey": image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"),
            "more than 8 bits": image.mode == "F" or image.mode.startswith("I"),
            "palette": image.mode.startswith("P"),
            "CMYK": image.mode == "CMYK",
            "transparency": image.has_transparency_data,
            "turned by EXIF": _orientation(image) in _ORIENTATION_FIXES,
            "animated or of several pages": getattr(image, "n_frames", 1) > 1,
        }
        return tuple(kind for kind, present in kinds.items() if present)


def _apply_orientation(image: Image.Image) -> Image.Image:
    transpose = _ORIENTATION_FIXES.get(_orientation(image))
    return image if transpose is None else image.transpose(transpose)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # the pixels can be read even if the EXIF block is broken
        return 1


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "row column 3"]:
    if image.mode.startswith(("I", "F")):
        return np.repeat(_scale_to_8_bits(image)[..., None], 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _scale_to_8_bits(image: Image.Image) -> UInt8[np.ndarray, "row column"]:
    """Scale grey values to 8 bits: 16-bit integers by their full range, other values from minimum to maximum."""
    values = np.nan_to_num(np.array(image, dtype=np.float64), nan=0, posinf=0, neginf=0)
    low, high = values.min(), values.max()
    if image.mode != "F" and low >= 0 and high < 2**16:
        low, high = 0, 2**16 - 1
    return np.round((values - low) * (255 / max(high - low, np.finfo(np.float64).tiny))).astype(np.uint8)
