"""An image file, of the kinds that people have, to uint8 (row, column, RGB): upright, its first frame, on white."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from mixlab.errors import UserError

MAX_PIXELS = 2**28
"""An image of more is refused by its header, before anything is unpacked. The largest telephones take 200 million."""

# Named, because Pillow knows others that run a program on the file (EPS starts Ghostscript). JPEG brings phones' MPO.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}  # ISO/IEC 23008-12, annex B

_UPRIGHT = {  # EXIF orientation -> what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(UserError):  # noqa: N818  it is named for what it is about
    """`image` names the file, `reason` says why it can't be read."""

    def __init__(self, image: str, reason: str):
        super().__init__(image, reason)
        self.image, self.reason = image, reason

    def __str__(self) -> str:
        return f"{self.image} can't be read: {self.reason}."


@runtime_checkable
class Stored(Protocol):
    """Where an image's file lies: a Path, or a place in something larger. `str` names it in sentences."""

    def read_bytes(self) -> bytes: ...


def read_image(source: Stored | bytes) -> UInt8[np.ndarray, "row column 3"]:
    """`source` is where an image's file lies, or its content. Raises UnreadableImage."""
    if isinstance(source, bytes):
        return _read(source, f"the image of {len(source):,} bytes")
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UnreadableImage(str(source), (error.strerror or str(error)).lower()) from error
    return _read(content, str(source))


def _read(content: bytes, image: str) -> UInt8[np.ndarray, "row column 3"]:
    try:
        with _pillow_limits():
            return _decoded(content)
    except UnidentifiedImageError:
        reason = "its content is no image of a kind that is known" if content else "it is empty"
    except Image.DecompressionBombError:
        reason = f"it would unpack to more than {MAX_PIXELS:,} pixels, the most that mixlab decodes"
    except ModuleNotFoundError:
        reason = 'it is a HEIC image, which needs an extra: pip install "mixlab[data]"'
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error ... on damaged files
        reason = f"it is damaged or cut short ({error})"
    raise UnreadableImage(image, reason)


@contextmanager
def _pillow_limits() -> Iterator[None]:
    """Pillow raises beyond twice its limit and warns beyond once; its other warnings are about harmless oddities."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS // 2
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _decoded(content: bytes) -> UInt8[np.ndarray, "row column 3"]:
    with _opened(content) as image:
        image.load()
        return _rgb(_upright(image))


def _opened(content: bytes) -> Image.Image:
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]  # AVIF and JPEG 2000 are not in every build
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
        import pillow_heif

        pillow_heif.register_heif_opener()
        formats.append("HEIF")
    return Image.open(BytesIO(content), formats=formats)


def image_kinds(content: bytes) -> tuple[str, ...]:
    """What is unusual about a readable image's file: nothing about 8-bit RGB, upright, opaque and alone."""
    with _pillow_limits(), _opened(content) as image:
        kinds = {
            "grey": image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"),
            "more than 8 bits": image.mode == "F" or image.mode.startswith("I"),
            "palette": image.mode.startswith("P"),
            "CMYK": image.mode == "CMYK",
            "transparency": image.has_transparency_data,
            "turned by EXIF": _orientation(image) in _UPRIGHT,
            "animated or of several pages": getattr(image, "n_frames", 1) > 1,
        }
        return tuple(kind for kind, present in kinds.items() if present)


def _upright(image: Image.Image) -> Image.Image:
    undo = _UPRIGHT.get(_orientation(image))
    return image if undo is None else image.transpose(undo)


def _orientation(image: Image.Image) -> int:
    """As EXIF counts them; 1 is upright."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1


def _rgb(image: Image.Image) -> UInt8[np.ndarray, "row column 3"]:
    if image.mode.startswith(("I", "F")):
        return np.repeat(_eight_bits(image)[..., None], 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _eight_bits(image: Image.Image) -> UInt8[np.ndarray, "row column"]:
    """Deep grey by the whole range of 16 bits; values that are no such numbers, from the darkest to the brightest."""
    values = np.nan_to_num(np.array(image, dtype=np.float64), nan=0, posinf=0, neginf=0)
    low, high = values.min(), values.max()
    if image.mode != "F" and low >= 0 and high < 2**16:
        low, high = 0, 2**16 - 1
    return np.round((values - low) * (255 / max(high - low, np.finfo(np.float64).tiny))).astype(np.uint8)
