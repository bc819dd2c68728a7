"""Every kind of image that the Predictor accepts, and the sentences for the others."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.data.image_file import UnreadableImage
from mixlab.errors import UserError
from mixlab.prediction.image_input import rgb_array

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[..., 0]
RGBA = np.concatenate([RGB, np.where(GREY > 128, 255, 0).astype(np.uint8)[..., None]], axis=2)
ON_WHITE = np.where(RGBA[..., 3:] == 255, RGB, 255).astype(np.uint8)


def encoded(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


IMAGES = {
    "bytes": encoded(RGB),
    "file": io.BytesIO(encoded(RGB)),
    "PIL": Image.fromarray(RGB),
    "array": RGB,
    "tensor": torch.from_numpy(RGB).permute(2, 0, 1),
    "float tensor": torch.from_numpy(RGB).permute(2, 0, 1) / 255,
    "double tensor with gradients": (torch.from_numpy(RGB).permute(2, 0, 1).double() / 255).requires_grad_(),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_all_kinds_of_rgb_images_have_the_same_pixels(kind):
    assert np.array_equal(rgb_array(IMAGES[kind], None), RGB)


def test_a_path_is_read(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(RGB))
    assert np.array_equal(rgb_array(tmp_path / "a.png", None), RGB)
    assert np.array_equal(rgb_array(str(tmp_path / "a.png"), None), RGB)


@pytest.mark.parametrize("image", [GREY, GREY[..., None], torch.from_numpy(GREY)[None], Image.fromarray(GREY)])
def test_grey_images_have_three_equal_channels(image):
    assert np.array_equal(rgb_array(image, None), GREY[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("image", [RGBA, torch.from_numpy(RGBA).permute(2, 0, 1), Image.fromarray(RGBA)])
def test_transparent_pixels_are_white(image):
    assert np.array_equal(rgb_array(image, None), ON_WHITE)


def test_a_pil_image_with_more_than_8_bits_is_scaled_by_the_value_range():
    deep = Image.fromarray((GREY.astype(np.uint16) * 16).astype(np.uint16))
    assert np.array_equal(rgb_array(deep, (0, 4080))[..., 0], GREY)


def test_a_pil_image_is_turned_by_its_exif_block():
    image = Image.fromarray(RGB)
    image.getexif()[274] = 3
    assert np.array_equal(rgb_array(image, None), RGB[::-1, ::-1])


def test_a_truncated_pil_image_is_unreadable(tmp_path):
    (tmp_path / "cut.png").write_bytes(encoded(RGB)[:60])
    with (
        Image.open(tmp_path / "cut.png") as image,
        pytest.raises(UnreadableImage, match=r"cut\.png can't be read: it is damaged or truncated"),
    ):
        rgb_array(image, None)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (None, "NoneType is not an image: give a path, the bytes of an image file"),
        (3, "int is not an image"),
        (io.StringIO("text"), "StringIO is not an image"),
        (RGB.astype(np.float32), r"An array of float32 with shape \(5, 7, 3\) is not an image"),
        (RGB.transpose(2, 0, 1), r"An array of uint8 with shape \(3, 5, 7\) is not an image"),
        (RGB[None], r"An array of uint8 with shape \(1, 5, 7, 3\) is not an image"),
        (RGB[:0], r"An array of uint8 with shape \(0, 7, 3\) is not an image"),
        (torch.from_numpy(RGB), r"A tensor of torch.uint8 with shape \(5, 7, 3\) is not an image"),
        (torch.zeros(1, 3, 5, 7), r"A tensor of torch.float32 with shape \(1, 3, 5, 7\) is not an image"),
        (torch.full((3, 5, 7), 255.0), "A tensor with values from 255 to 255 is not an image: floats must be from 0"),
        (torch.full((3, 5, 7), -1.0), "before any normalisation"),
        (torch.full((3, 5, 7), float("nan")), "A tensor with values from nan to nan is not an image"),
        (torch.zeros(3, 5, 7, dtype=torch.int64), r"A tensor of torch.int64 is not an image: give uint8, or floats"),
    ],
)
def test_anything_else_is_refused_with_what_is_accepted(image, sentence):
    with pytest.raises(UserError, match=sentence):
        rgb_array(image, None)
