"""Preprocessing in timm's terms: the pixels of timm's own transform, compared with those of mixlab."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixlab.data.preprocess import Preprocess, Resize
from mixlab.data.transforms import Transform
from mixlab.weights.timm_preprocess import TimmPreprocess

SIZES = [(40, 40), (41, 97), (300, 451), (97, 41), (33, 32), (224, 75)]  # of images: width, height
FRACTIONS = [1.0, 0.96, 0.95, 0.9, 0.875, 0.8, 0.7]


def timm_transform(preprocess: Preprocess, *, normalize: bool = True) -> Any:
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    config = {"input_size": (3, *preprocess.image_size), **TimmPreprocess(preprocess).entries}
    return timm.data.create_transform(**timm.data.resolve_data_config(config), normalize=normalize)


def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)) for columns, rows in SIZES]


def pixels_are_equal(preprocess: Preprocess) -> list[bool]:
    transform = timm_transform(preprocess, normalize=False)
    return [transform(image).equal(preprocess.resized(np.array(image))) for image in images()]


@pytest.mark.parametrize("image_size", [(32, 32), (28, 28), (24, 48)])
@pytest.mark.parametrize("resize", ["stretch", "stretch_and_crop"])
def test_stretched_images_have_the_same_pixels(resize: Resize, image_size: tuple[int, int]):
    exact = [Preprocess(image_size, resize, fraction, "bilinear") for fraction in FRACTIONS]
    exact = [preprocess for preprocess in exact if TimmPreprocess(preprocess).same_pixels]
    assert len(exact) >= 4
    assert all(all(pixels_are_equal(preprocess)) for preprocess in exact)


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_square_images_have_the_same_pixels_if_the_aspect_ratio_is_kept(fraction):
    preprocess = Preprocess((32, 32), "shorter_side", fraction)
    square, *_ = pixels_are_equal(preprocess)
    assert square and not TimmPreprocess(preprocess).same_pixels


def test_the_longer_side_can_differ_by_one_pixel_if_the_aspect_ratio_is_kept():
    preprocess = Preprocess((32, 32), "shorter_side", 0.875)
    resized = [timm_transform(preprocess).transforms[0](image).size for image in images()]
    expected = [preprocess._scaled_size(rows, columns)[::-1] for columns, rows in SIZES]
    differences = np.abs(np.array(resized) - np.array(expected))
    assert differences.max() == 1 and (differences.min(axis=1) == 0).all()
    assert not all(pixels_are_equal(preprocess))


def test_the_shorter_side_has_as_many_pixels_as_in_mixlab():
    for side in (8, 32, 96, 224, 256, 384, 512):
        for percent in range(50, 101):
            preprocess = Preprocess((side, side), "shorter_side", percent / 100)
            if (side / preprocess.crop_fraction) % 1 != 0.5:  # mixlab rounds a half up or down
                crop_pct = TimmPreprocess(preprocess).crop_pct
                assert int(side / crop_pct) == preprocess._scaled_size(1000, 1000)[0], (side, percent)


def test_the_crop_fraction_is_unchanged_if_timm_rounds_to_the_same_pixels():
    assert TimmPreprocess(Preprocess((224, 224), "shorter_side", 0.875)).crop_pct == 0.875
    assert TimmPreprocess(Preprocess((224, 224), "shorter_side", 0.95)).crop_pct == 0.9491  # 236 pixels, not 235


def test_normalised_values_agree_up_to_rounding():
    preprocess = Preprocess((32, 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    for image in images():
        difference = timm_transform(preprocess)(image) - preprocess(np.array(image))
        assert difference.abs().max() < 1e-6


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, None),
        ({"transform": Transform("permute_all_pixels")}, "timm's config has no permutation of patches or pixels."),
        ({"value_range": (0, 4095)}, "timm does not scale images with more than 8 bits to a common range."),
    ],
)
def test_settings_without_an_entry_in_timm_are_reported(settings, sentence):
    assert TimmPreprocess(Preprocess((32, 32), **settings)).missing == sentence
