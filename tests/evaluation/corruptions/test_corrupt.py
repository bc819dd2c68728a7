"""Comparison with the scripts that made ImageNet-C and CIFAR-10-C, and properties that they do not have.

golden/corruptions.npz has results of make_imagenet_c.py and make_cifar_c.py of hendrycks/robustness for `pattern`, with
two changes. Their random numbers are those of `generator`, and their calls of ImageMagick are replaced by the motion
blur of the package imagecorruptions 1.1.2, rounded. They ran with numpy 2.4, scipy 1.17, scikit-image 0.26 and OpenCV
5.0. For each kind, there are the central 8x8 pixels and the means of 4x4 blocks, at severities 1 to 5. frost uses
photographs there, and jpeg_compression depends on libjpeg, so these two are missing.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.errors import UserError
from mixlab.evaluation.corruptions.corrupt import KINDS, SEVERITIES, corrupt
from mixlab.evaluation.corruptions.strengths import CIFAR_10_C, IMAGENET_C, strengths_for

GOLDEN = Path(__file__).parents[2] / "golden" / "corruptions.npz"
COMPARED = tuple(kind for kind in KINDS if kind not in ("frost", "jpeg_compression"))


def pattern(rows, columns=None):
    """Stripes of all widths and directions."""
    y, x = np.mgrid[:rows, : columns or rows]
    channels = [(y * y + 3 * x * x + 40 * channel * (y + x)) * 16 // rows % 256 for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def generator(side, severity):
    return np.random.Generator(np.random.Philox(key=np.array([side, severity], dtype=np.uint64)))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("kind", COMPARED)
def test_a_corruption_is_that_of_the_published_script(golden, kind, side):
    """Up to one level, because a value is truncated, and both compute it with another rounding."""
    middle = slice(side // 2 - 4, side // 2 + 4)
    for severity in SEVERITIES:
        result = corrupt(pattern(side), kind, severity, generator(side, severity))
        pixels = result[middle, middle].astype(int)
        assert abs(pixels - golden[f"{kind}_{side}"][severity - 1]).max() <= 1
        means = result.reshape(4, side // 4, 4, side // 4, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(means, golden[f"{kind}_{side}_means"][severity - 1], rtol=0, atol=0.1)


@pytest.mark.parametrize(("side", "qualities"), [(224, (25, 18, 15, 10, 7)), (32, (80, 65, 58, 50, 40))])
def test_jpeg_compression_has_the_published_qualities(side, qualities):
    for severity, quality in enumerate(qualities, start=1):
        Image.fromarray(pattern(side)).save(file := BytesIO(), "JPEG", quality=quality)
        expected = np.array(Image.open(file))
        assert np.array_equal(corrupt(pattern(side), "jpeg_compression", severity, generator(0, 0)), expected)


@pytest.mark.parametrize("side", [32, 224])
def test_frost_is_a_weighted_sum_with_a_texture_of_the_documented_colour(side):
    weights = {224: ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))}
    weights[32] = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
    grey = np.full((side, side, 3), 60, np.uint8)
    for severity, (image_weight, frost_weight) in enumerate(weights[side], start=1):
        texture = (corrupt(grey, "frost", severity, generator(side, severity)) - image_weight * 60) / frost_weight
        np.testing.assert_allclose(texture.mean(axis=(0, 1)), (146, 167, 179), atol=3)
        np.testing.assert_allclose(texture.std(axis=(0, 1)), 23, atol=2)


def test_the_kinds_are_the_15_of_the_paper():
    assert len(KINDS) == 15
    assert tuple(CIFAR_10_C) == tuple(IMAGENET_C) == KINDS
    assert all(len(strengths[kind]) == 5 for strengths in (IMAGENET_C, CIFAR_10_C) for kind in KINDS)


@pytest.mark.parametrize(
    ("rows", "columns", "strengths"),
    [(32, 32, CIFAR_10_C), (64, 300, CIFAR_10_C), (84, 84, CIFAR_10_C), (85, 85, IMAGENET_C), (300, 224, IMAGENET_C)],
)
def test_the_shorter_side_decides_about_the_strengths(rows, columns, strengths):
    assert strengths_for(rows, columns) is strengths


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(33, 57), (120, 90)])
def test_images_that_are_not_square_keep_their_shape(kind, shape):
    for severity in SEVERITIES:
        image = pattern(*shape)
        before = image.copy()
        assert corrupt(image, kind, severity, generator(1, severity)).shape == (*shape, 3)
        assert np.array_equal(image, before)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("kind", KINDS)
def test_black_and_white_images_can_be_corrupted(kind, value):
    corrupted = corrupt(np.full((96, 96, 3), value, np.uint8), kind, 5, generator(0, 0))
    assert corrupted.dtype == np.uint8
    if kind in ("shot_noise", "fog") and value == 0:
        assert not corrupted.any()
    if kind == "brightness" and value == 0:
        assert (corrupted == 127).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_gives_the_same_image(kind):
    first, second = (corrupt(pattern(40), kind, 3, generator(4, 2)) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("kind", ["gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "fog", "contrast"])
def test_a_higher_severity_changes_an_image_more(kind, side):
    image = pattern(side)
    distances = [
        np.abs(corrupt(image, kind, severity, generator(0, 0)).astype(float) - image).mean() for severity in SEVERITIES
    ]
    assert distances == sorted(distances)


@pytest.mark.parametrize(
    ("kind", "severity", "message"),
    [
        ("gausian_noise", 1, r'"gausian_noise" is unknown: .* Did you mean "gaussian_noise"\?'),
        ("fog", 0, "severity 0 of fog is out of range: it must be 1, 2, 3, 4 or 5"),
        ("fog", 6, "severity 6 of fog"),
    ],
)
def test_an_unknown_corruption_is_an_error(kind, severity, message):
    with pytest.raises(UserError, match=message):
        corrupt(pattern(32), kind, severity, generator(0, 0))


def test_an_image_that_is_too_small_is_an_error():
    with pytest.raises(UserError, match="An image of 31x50 pixels is too small for the corruptions"):
        corrupt(pattern(31, 50), "fog", 1, generator(0, 0))
