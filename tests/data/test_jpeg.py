"""The faster decoder of JPEGs has the pixels and the errors of Pillow."""

import io
import sys

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from mixlab.data import image_file
from mixlab.data.image_file import ReducedImage, UnreadableImage, read_image, read_reduced_image


def as_pillow(content: bytes, factor: int = 1) -> np.ndarray:
    """A JPEG as Pillow alone decodes it, at 1 / factor of its resolution."""
    with Image.open(io.BytesIO(content)) as stored:
        stored.draft(stored.mode, (stored.width // factor, stored.height // factor))
        return np.array(ImageOps.exif_transpose(stored).convert("RGB"))


def jpeg(columns: int, rows: int, mode: str = "RGB", orientation: int = 1, **options) -> bytes:
    """A JPEG with colour gradients and noise."""
    noise = np.random.default_rng(0).normal(0, 20, (rows, columns, 3))
    gradient = np.linspace([[0, 255, 99]], [[255, 0, 150]], columns, axis=1)
    pil_image = Image.fromarray((gradient + noise).clip(0, 255).astype(np.uint8)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    pil_image.save(content, format="jpeg", exif=exif, **options)
    return content.getvalue()


KINDS_OF_JPEG = [
    ("RGB", {"subsampling": 0}),
    ("RGB", {"subsampling": 1, "quality": 40}),
    ("RGB", {"subsampling": 2, "progressive": True}),
    ("RGB", {"subsampling": 2, "quality": 95, "restart_marker_blocks": 3}),
    ("L", {}),
    ("L", {"progressive": True}),
]


@pytest.mark.parametrize(("mode", "options"), KINDS_OF_JPEG)
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_the_faster_decoder_of_jpeg_has_the_pixels_of_pillow(mode, options, factor, monkeypatch):
    monkeypatch.setattr(Image.Image, "draft", None)  # not called for these files
    contents = [jpeg(*sides, mode, **options) for sides in ((64, 48), (61, 47), (9, 130))]
    decoded = [read_reduced_image(content, lambda *_: factor) for content in contents]
    monkeypatch.undo()
    for content, image in zip(contents, decoded, strict=True):
        assert np.array_equal(image.pixels, as_pillow(content, factor))
        assert image.factor == factor


@pytest.mark.parametrize(
    "damage", [lambda content: content + b"more", lambda content: content.replace(b"JFIF", b"JFXX")]
)
def test_a_jpeg_that_the_faster_decoder_refuses_has_the_pixels_of_pillow(damage, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("extraneous bytes")

    content = damage(jpeg(64, 48))
    monkeypatch.setattr(simplejpeg, "decode_jpeg", refuse)
    for factor in (1, 2, 8):
        image = read_reduced_image(content, lambda *_, factor=factor: factor)
        assert np.array_equal(image.pixels, as_pillow(content, factor))


def test_without_the_faster_decoder_a_jpeg_has_the_pixels_of_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    content = jpeg(64, 48)
    for factor in (1, 2, 8):
        image = read_reduced_image(content, lambda *_, factor=factor: factor)
        assert np.array_equal(image.pixels, as_pillow(content, factor))


@pytest.mark.parametrize("orientation", range(1, 10))
def test_a_turned_jpeg_is_reduced_if_the_factor_divides_its_sides(orientation):
    for sides, divisible in (((64, 48), True), ((64, 47), False), ((63, 48), False)):
        content = jpeg(*sides, orientation=orientation)
        seen = []
        image = read_reduced_image(content, lambda *sides, seen=seen: seen.append(sides) or 4)
        assert image.factor == (4 if divisible or orientation in (1, 9) else 1)
        assert np.array_equal(image.pixels, as_pillow(content, image.factor))
        assert seen == [(image.rows, image.columns)] == [as_pillow(content).shape[:2]]


def test_damaged_jpegs_have_the_pixels_or_the_error_of_pillow(monkeypatch):
    generator = np.random.default_rng(1)
    whole = np.frombuffer(jpeg(40, 30), dtype=np.uint8)
    for _ in range(300):
        broken = whole[: generator.integers(100, 2 * len(whole))].copy()
        broken[generator.integers(0, len(broken), 2)] = generator.integers(0, 256, 2)
        outcomes = [outcome(broken.tobytes())]
        with monkeypatch.context() as context:
            context.setattr(image_file, "_decode_jpeg", lambda image, *_: ReducedImage(pillow_pixels(image), 0, 0, 1))
            outcomes.append(outcome(broken.tobytes()))
        assert outcomes[0] == outcomes[1]


def pillow_pixels(image: Image.Image) -> np.ndarray:
    return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def outcome(content: bytes) -> str | tuple:
    try:
        image = read_image(content)
    except UnreadableImage as error:
        return error.reason
    return image.shape, image.tobytes()
