"""predict.py of an exported model decodes image files to the pixels of mixlab."""

from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image

from mixlab.data.image_file import image_kinds, read_image
from mixlab.export.check_images import check_images

pytest.importorskip("onnxruntime", reason='needs onnxruntime: pip install "mixlab[deploy]"')

KINDS = {
    "grey",
    "more than 8 bits",
    "palette",
    "CMYK",
    "transparency",
    "turned by EXIF",
    "animated or of several pages",
}


CHECKED = check_images()


def decode(content: bytes, value_range: tuple[float, float] | None = None) -> np.ndarray:
    from mixlab.export.standalone_predict import decode

    return decode(BytesIO(content), value_range)


def encoded(image: Image.Image, format: str, **options) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def ramp(dtype: type, highest: float) -> Image.Image:
    return Image.fromarray((np.arange(63).reshape(7, 9) * highest / 62).astype(dtype))


def test_the_checked_images_are_of_every_unusual_kind():
    assert {kind for content in CHECKED.values() for kind in image_kinds(content)} == KINDS


@pytest.mark.parametrize("name", CHECKED)
def test_the_checked_images_have_the_pixels_of_mixlab(name: str):
    content = CHECKED[name]
    assert np.array_equal(decode(content), read_image(content))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_exif_says(orientation: int):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    colour = encoded(ramp(np.uint8, 255).convert("RGB"), "JPEG", exif=exif)
    deep = encoded(ramp(np.uint16, 4095), "PNG", exif=exif)
    for content in (colour, deep):
        assert np.array_equal(decode(content), read_image(content))


@pytest.mark.parametrize("highest", [200, 1000, 4000, 16000, 65535])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_deep_images_have_the_range_that_mixlab_finds(format: str, highest: int):
    content = encoded(ramp(np.uint16, highest), format)
    assert np.array_equal(decode(content), read_image(content))


@pytest.mark.parametrize("highest", [0.5, 3, 300, 1e6])
def test_so_have_images_of_floats(highest: float):
    content = encoded(ramp(np.float32, highest), "TIFF")
    assert np.array_equal(decode(content), read_image(content))


def test_a_value_range_of_the_training_is_used():
    content = encoded(ramp(np.uint16, 4000), "PNG")
    pixels = decode(content, (0, 8000))
    assert np.array_equal(pixels, read_image(content, (0, 8000)))
    assert pixels.max() == 128
