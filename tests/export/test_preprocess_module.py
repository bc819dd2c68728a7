"""The preprocessing in PyTorch: the values of mixlab's preprocessing with Pillow, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import UInt8

from mixlab.data.preprocess import Interpolation, Preprocess, Resize
from mixlab.data.transforms import Transform
from mixlab.export.preprocess_module import PreprocessModule

SIZE = (28, 20)
SIDES = [(1, 1), (3, 200), (200, 3), (28, 20), (27, 21), (90, 131), (131, 90), (240, 61), (61, 240), (14, 10)]
WHOLE, RESIZED = torch.zeros((), dtype=torch.bool), torch.ones((), dtype=torch.bool)


def run(preprocess: Preprocess, images: UInt8[np.ndarray, "batch row column 3"], is_resized=WHOLE) -> np.ndarray:
    with torch.no_grad():
        return PreprocessModule(preprocess)(torch.from_numpy(images), is_resized).numpy()


def noise(*shape: int) -> UInt8[np.ndarray, "..."]:
    """Noise with many black and white pixels, so that the clipping between the two passes matters."""
    values = np.random.default_rng(sum(shape)).normal(128, 120, shape)
    return values.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resize", ["stretch", "shorter_side", "stretch_and_crop"])
def test_every_value_is_that_of_pillow(resize: Resize, interpolation: Interpolation):
    preprocess = Preprocess(SIZE, resize, 0.875, interpolation, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    for rows, columns in SIDES:
        image = noise(rows, columns, 3)
        assert np.array_equal(run(preprocess, image[None])[0], preprocess(image).numpy()), (rows, columns)


def test_the_crop_is_rounded_like_pythons_round():
    """108 / 0.96 is 112.5, which is rounded to the even 112."""
    preprocess = Preprocess((108, 55), "stretch_and_crop", 0.96)
    image = noise(216, 582, 3)
    assert np.array_equal(run(preprocess, image[None])[0], preprocess(image).numpy())


def test_images_of_one_size_form_a_batch():
    preprocess = Preprocess(SIZE, "shorter_side", 0.9)
    images = noise(3, 50, 40, 3)
    assert np.array_equal(run(preprocess, images), torch.stack([preprocess(image) for image in images]).numpy())


def test_resized_images_are_not_cropped_again():
    preprocess = Preprocess(SIZE, "shorter_side", 0.5)
    images = noise(2, *SIZE, 3)
    expected = preprocess.normalised(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert np.array_equal(run(preprocess, images, RESIZED), expected)
    assert not np.array_equal(run(preprocess, images), expected)


@pytest.mark.parametrize("name", ["permute_patches", "permute_all_pixels"])
def test_the_transform_of_a_run_is_part_of_the_module(name):
    transform = Transform(name, seed=3, patch_size=4 if name == "permute_patches" else None)
    preprocess = Preprocess(SIZE, transform=transform)
    image = noise(30, 44, 3)
    found = run(preprocess, image[None])[0]
    assert np.array_equal(found, preprocess(image).numpy())
    assert not np.array_equal(found, replace(preprocess, transform=None)(image).numpy())
