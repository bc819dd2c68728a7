"""Corrupted copies of a split: when images are read, and on what their random numbers depend."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.data.batches import EvalBatches
from mixlab.data.dataset import ContainedFile, Split, stored_bytes
from mixlab.data.image_file import UnreadableImage
from mixlab.data.preprocess import Preprocess
from mixlab.data.rng import named_generator
from mixlab.errors import UserError
from mixlab.evaluation.corruptions.corrupt import corrupt
from mixlab.evaluation.corruptions.corrupted_images import corrupted, without_resizing

PREPROCESS = Preprocess((40, 36), "shorter_side", 0.8, "bilinear")


@pytest.fixture
def split(tmp_path):
    """Six images of 70x50 pixels: three files and three arrays."""
    images = np.random.default_rng(0).integers(0, 256, (6, 70, 50, 3), dtype=np.uint8)
    for number in range(3):
        Image.fromarray(images[number]).save(tmp_path / f"{number}.png")
    files = [tmp_path / f"{number}.png" for number in range(3)]
    return Split([f"{number}.png" for number in range(6)], np.arange(6) % 2, [*files, *images[3:]])


def test_an_image_is_resized_and_then_corrupted(split):
    noisy = corrupted(split, PREPROCESS, "gaussian_noise", 2, seed=5)
    for index in range(6):
        resized = PREPROCESS.resized(split.image(index)).permute(1, 2, 0).numpy()
        rng = named_generator(5, f"{index}.png", "gaussian_noise", 2)
        assert np.array_equal(noisy.image(index), corrupt(resized, "gaussian_noise", 2, rng))
    assert noisy.names == split.names and np.array_equal(noisy.labels, split.labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_have_the_corrupted_images(split, workers):
    images = corrupted(split, PREPROCESS, "contrast", 4)
    batches = list(EvalBatches(images, without_resizing(PREPROCESS), batch=4, workers=workers, quiet=True))
    found = torch.cat([batch.images for batch in batches]).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(found, np.stack([images.image(index) for index in range(6)]))


def test_the_random_numbers_do_not_depend_on_the_other_images(split):
    all_images = corrupted(split, PREPROCESS, "shot_noise", 1)
    assert np.array_equal(corrupted(split.subset([4]), PREPROCESS, "shot_noise", 1).image(0), all_images.image(4))


@pytest.mark.parametrize("other", [("shot_noise", 1, 1), ("shot_noise", 2, 0)])
def test_another_seed_or_severity_has_other_random_numbers(split, other):
    kind, severity, seed = other
    assert not np.array_equal(
        corrupted(split, PREPROCESS, kind, severity, seed=seed).image(4),
        corrupted(split, PREPROCESS, "shot_noise", 1).image(4),
    )


def test_no_image_is_read_before_it_is_needed(split, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").unlink()
    images = corrupted(split, PREPROCESS, "fog", 1)
    assert images.image(3).shape == (40, 36, 3)
    with pytest.raises(UnreadableImage, match=r"0\.png can't be read"):
        images.image(0)


def test_a_corrupted_image_is_a_file_with_a_known_size(split):
    for image in corrupted(split, PREPROCESS, "fog", 1).images:
        assert isinstance(image, ContainedFile)
        assert stored_bytes(image) == len(image.read_bytes())
        assert pickle.loads(pickle.dumps(image)).read_bytes() == image.read_bytes()


def test_a_resized_image_keeps_its_pixels_and_its_normalisation():
    image = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    finished = without_resizing(replace(PREPROCESS, value_range=(0, 4095)))
    assert finished.resized(image).permute(1, 2, 0).equal(torch.from_numpy(image))
    assert (finished.mean, finished.std) == (PREPROCESS.mean, PREPROCESS.std)


def test_an_unknown_kind_is_an_error_before_an_image_is_read(split):
    with pytest.raises(UserError, match=r'corruption "frogs" is unknown: .* Did you mean "frost"\?'):
        corrupted(split, PREPROCESS, "frogs", 1)
