"""Image files of unusual kinds, made in memory, on which an exported model must agree with mixlab."""

from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

_TURN = Image.Transpose.ROTATE_180


@cache
def check_images() -> dict[str, bytes]:
    """The contents of image files by a description of each. They are always the same."""
    photograph = Image.fromarray(_scene(300, 400))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    grey = np.asarray(photograph.convert("L"))
    deep = grey.astype(np.uint16) * 257
    transparent = photograph.convert("RGBA")
    transparent.putalpha(Image.fromarray(grey))
    palette = photograph.convert("P", palette=Image.Palette.ADAPTIVE)
    return {
        "a JPEG": _encoded(photograph, "JPEG"),
        "a JPEG turned by EXIF": _encoded(photograph, "JPEG", exif=turned),
        "a CMYK JPEG": _encoded(photograph.convert("CMYK"), "JPEG"),
        "a grey PNG": _encoded(Image.fromarray(grey), "PNG"),
        "a 16-bit PNG": _encoded(Image.fromarray(deep), "PNG"),
        "a 16-bit PNG of 12 bits, turned by EXIF": _encoded(Image.fromarray(deep >> 4), "PNG", exif=turned),
        "a TIFF of floats": _encoded(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
        "a PNG with a palette": _encoded(palette, "PNG"),
        "a GIF with a transparent colour": _encoded(palette, "GIF", transparency=0),
        "an animated GIF": _encoded(palette, "GIF", save_all=True, append_images=[palette.transpose(_TURN)]),
        "a PNG with transparency": _encoded(transparent, "PNG"),
        "a grey PNG with transparency": _encoded(transparent.convert("LA"), "PNG"),
        "a PNG of black and white": _encoded(photograph.convert("1"), "PNG"),
        "a PNG of 1 x 1 pixel": _encoded(Image.fromarray(_scene(1, 1)), "PNG"),
        "a PNG of 7 x 5 pixels": _encoded(Image.fromarray(_scene(7, 5)), "PNG"),
        "a PNG of 1,200 x 31 pixels": _encoded(Image.fromarray(_scene(1200, 31)), "PNG"),
        "a PNG of 33 x 900 pixels": _encoded(Image.fromarray(_scene(33, 900)), "PNG"),
        "a JPEG of 1,000 x 1,500 pixels": _encoded(Image.fromarray(_scene(1000, 1500)), "JPEG"),
    }


def _scene(rows: int, columns: int) -> UInt8[np.ndarray, "row column 3"]:
    """Smooth shades, a sharp edge and noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:rows, 0:columns] / max(rows, columns)
    shades = np.stack([128 + 100 * np.sin(9 * x + 4 * y + phase) for phase in range(3)], axis=-1)
    shades[(x > 0.5) & (y > 0.25)] = 250
    return (shades + rng.normal(0, 20, shades.shape)).clip(0, 255).astype(np.uint8)


def _encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
