"""Decoding of image files to uint8 (row, column, RGB).

The EXIF orientation is applied, transparent pixels are blended with white, and the first frame of an animation is used.
Grey images with more than 8 bits are scaled to 8 bits as in `mixlab.data.deep_image`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from mixlab.data.deep_image import ValueRange, default_range, is_deep, scale_to_8_bits, stored_values
from mixlab.data.pillow_settings import SharedContext, decoding_settings
from mixlab.errors import UserError
from mixlab.files import read_reason

MAX_PIXELS = 2**28
"""Larger images are rejected by their header, before decoding. Phone cameras reach 200 million pixels."""

# Explicit lists, because other formats of Pillow run external programs (EPS starts Ghostscript). JPEG includes MPO.
_COMMON_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM")  # Pillow imports their decoders first, without all others
_OTHER_FORMATS = ("TIFF", "WEBP", "JPEG2000", "AVIF")
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
_SIDEWAYS = range(5, 9)  # orientations that exchange rows and columns


_DECODING = SharedContext(lambda: decoding_settings(MAX_PIXELS))


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


def read_image(
    source: ReadableFile | bytes, value_range: ValueRange | None = None, max_pixels: int | None = None
) -> UInt8[np.ndarray, "row column 3"]:
    """Decode an image file, or the content of one.

    `value_range`: the values of black and white in grey images with more than 8 bits; None for the range of each file.
    `max_pixels`: an image with more pixels is rejected by its header; None for `MAX_PIXELS`, which is the most.

    Raises UnreadableImage.
    """
    return read_reduced_image(source, lambda _rows, _columns: 1, value_range, max_pixels).pixels


@dataclass(frozen=True, slots=True)
class ReducedImage:
    """A decoded image with sides that are divided by `factor` and rounded up.

    `rows`, `columns`: the sides of the whole image.
    """

    pixels: UInt8[np.ndarray, "row column 3"]
    rows: int
    columns: int
    factor: int


def read_reduced_image(
    source: ReadableFile | bytes,
    reduction: Callable[[int, int], int],
    value_range: ValueRange | None = None,
    max_pixels: int | None = None,
) -> ReducedImage:
    """Decode an image file at a fraction of its resolution, if it is a JPEG, as its decoder does that in less time.

    `reduction`: maps the rows and columns of the image to the factor by which its sides are divided: 1, 2, 4 or 8.
        Other formats, and JPEGs turned by EXIF whose sides the factor does not divide, have the factor 1.
    `value_range`, `max_pixels`: those of `read_image`.

    Raises UnreadableImage.
    """
    name = _content_name(source) if isinstance(source, bytes) else str(source)
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise UnreadableImage(name, reason_for_no_content(error)) from error
    with _explain_errors(content, name, max_pixels), _open(content, max_pixels) as image:
        if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
            return _decode_jpeg(image, content, reduction)
        pixels = _pixels(image, value_range)
        return ReducedImage(pixels, *pixels.shape[:2], factor=1)


def reason_for_no_content(error: OSError) -> str:
    """The `reason` of UnreadableImage for a file whose content can't be read."""
    return read_reason(error) or (error.strerror or str(error)).lower()


def decode_pillow_image(image: Image.Image, value_range: ValueRange | None = None) -> UInt8[np.ndarray, "row column 3"]:
    """Decode an image that was opened or made with Pillow, as `read_image` does for a file. Raises UnreadableImage."""
    name = str(getattr(image, "filename", "") or "the PIL image")
    if 0 in image.size:
        raise UnreadableImage(name, "it has no pixels")
    with _explain_errors(b"", name):
        return _pixels(image, value_range)


def _content_name(content: bytes) -> str:
    return f"the image of {len(content):,} bytes"


@contextmanager
def _explain_errors(content: bytes, image: str, max_pixels: int | None = None) -> Iterator[None]:
    """Raise UnreadableImage for every error of a decoder, with the settings of `decoding_settings`."""
    try:
        with _DECODING:
            yield
        return
    except UnidentifiedImageError:
        reason = reason_for_other_content(content, "an image in a supported format")
    except Image.DecompressionBombError:
        reason = f"it has more than {max_pixels or MAX_PIXELS:,} pixels, the maximum that mixlab decodes"
    except ModuleNotFoundError:
        reason = 'it is a HEIC image, which needs an optional dependency: pip install "mixlab[data]"'
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error ... on damaged files
        reason = f"it is damaged or truncated ({error})"
    raise UnreadableImage(image, reason)


def reason_for_other_content(content: bytes, expected: str) -> str:
    """Why the content of a file is not what is `expected`, such as "an image in a supported format"."""
    for beginning, program in _POINTERS.items():
        if content.startswith(beginning):
            return f"it is a pointer of {program}, whose content was not fetched"
    return f"it is not {expected}" if content else "it is empty"


def _decode_jpeg(image: Image.Image, content: bytes, reduction: Callable[[int, int], int]) -> ReducedImage:
    """Decode a grey or colour JPEG, which Pillow has opened, with simplejpeg: faster, and with the same pixels.

    Pillow decodes it where simplejpeg is not installed, and where it refuses a file that differs from the standard.
    """
    orientation = _orientation(image)
    columns, rows = image.size[::-1] if orientation in _SIDEWAYS else image.size
    factor = reduction(rows, columns)
    transpose = _ORIENTATION_FIXES.get(orientation)
    if transpose is not None and (rows % factor or columns % factor):
        factor = 1  # the rounded side would be the first one
    try:
        height, width = -(-image.height // factor), -(-image.width // factor)
        from simplejpeg import decode_jpeg

        pixels = decode_jpeg(content, min_height=height, min_width=width)
    except (ModuleNotFoundError, ValueError):
        image.draft(image.mode, (image.width // factor, image.height // factor))
        pixels = np.array(image.convert("RGB"))
    if transpose is not None:
        pixels = np.array(Image.fromarray(pixels).transpose(transpose))
    return ReducedImage(pixels, rows, columns, factor)


def _pixels(image: Image.Image, value_range: ValueRange | None) -> UInt8[np.ndarray, "row column 3"]:
    image.load()
    transpose = _ORIENTATION_FIXES.get(_orientation(image))
    shown = Image.fromarray(scale_to_8_bits(image, value_range)) if is_deep(image) else image
    return _to_rgb(shown if transpose is None else shown.transpose(transpose))


def _open(content: bytes, max_pixels: int | None = None) -> Image.Image:
    """Open an image without decoding it. Raises DecompressionBombError if it has too many pixels."""
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
        import pillow_heif

        image = pillow_heif.HeifImageFile(BytesIO(content))  # without registering it in Pillow
        return _within_limit(image, max_pixels)
    Image.preinit()
    try:
        image = Image.open(BytesIO(content), formats=_COMMON_FORMATS)
    except UnidentifiedImageError:
        Image.init()
        others = [name for name in _OTHER_FORMATS if name in Image.OPEN]  # not every build has AVIF and JPEG 2000
        image = Image.open(BytesIO(content), formats=others)
    return _within_limit(image, max_pixels)


def _within_limit(image: Image.Image, max_pixels: int | None) -> Image.Image:
    if image.width * image.height > (max_pixels or MAX_PIXELS):
        raise Image.DecompressionBombError
    return image


def image_kinds(content: bytes) -> tuple[str, ...]:
    """Unusual properties of a readable image file, such as "CMYK"; empty for a plain 8-bit RGB image."""
    with _DECODING, _open(content) as image:
        kinds = {
            "grey": image.mode in ("1", "L", "LA") or is_deep(image),
            "more than 8 bits": is_deep(image),
            "palette": image.mode.startswith("P"),
            "CMYK": image.mode == "CMYK",
            "transparency": image.has_transparency_data,
            "turned by EXIF": _orientation(image) in _ORIENTATION_FIXES,
            "animated or of several pages": getattr(image, "n_frames", 1) > 1,
        }
        return tuple(kind for kind, present in kinds.items() if present)


def image_sides(file: ReadableFile) -> tuple[int, int]:
    """(rows, columns) of an image file, whose pixels are not decoded. Raises UnreadableImage."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UnreadableImage(str(file), reason_for_no_content(error)) from error
    with _explain_errors(content, str(file)), _open(content) as image:
        is_upright = image.format == "TIFF" or _orientation(image) not in _SIDEWAYS  # Pillow turns the size of a TIFF
        columns, rows = image.size if is_upright else image.size[::-1]
        return rows, columns


@dataclass(frozen=True, slots=True)
class DeepValues:
    """The values of a grey image with more than 8 bits.

    `used`: its smallest and largest value.
    `value_range`: the range by which it is scaled to 8 bits if no other one is given.
    """

    used: ValueRange
    value_range: ValueRange


def deep_values(content: bytes) -> DeepValues | None:
    """The values of an image file with more than 8 bits; None for other images. Raises UnreadableImage."""
    with _explain_errors(content, _content_name(content)), _open(content) as image:
        if not is_deep(image):
            return None
        values = stored_values(image)
        return DeepValues((float(values.min()), float(values.max())), default_range(image, values))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # the pixels can be read even if the EXIF block is broken
        return 1


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "row column 3"]:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
