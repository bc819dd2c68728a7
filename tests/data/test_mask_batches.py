"""Batches of images with masks: both are cropped, moved and resized alike, with derived random numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.data.augmentation.affine import Affine
from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.augmentation.crop import RandomResizedCrop
from mixlab.data.augmentation.erasing import RandomErasing
from mixlab.data.batches import EvalBatches, TrainingBatches
from mixlab.data.dataset import Split
from mixlab.data.mask_file import IGNORED, MaskCoding
from mixlab.data.masks import Masks
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError

CODING = MaskCoding(2, {0: 0, 1: 1, IGNORED: IGNORED}, {})
SIZE = (24, 32)
PREPROCESS = Preprocess(SIZE, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Images that are white where their masks are 1, and black elsewhere."""
    rng, images, files = np.random.default_rng(0), [], []
    for number in range(6):
        mask = np.zeros((48, 64), dtype=np.uint8)
        top, left = rng.integers(0, 24), rng.integers(0, 32)
        mask[top : top + 24, left : left + 32] = 1
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(mask).save(files[-1])
        images.append(np.repeat(255 * mask[..., None], 3, axis=2))
    return Split([str(number) for number in range(6)], Masks(tuple(files), CODING), images)


def epoch(split: Split, augmentation: Augmentation, number: int = 0, batch: int = 3, **options):
    batches = TrainingBatches(split, PREPROCESS, augmentation, batch=batch, seed=0, quiet=True, **options)
    parts = [(each.indices, *each.on("cpu")) for each in batches.epoch(number)]
    order = np.argsort(np.concatenate([indices for indices, _, _ in parts]))
    return torch.cat([part[1] for part in parts])[order], torch.cat([part[2] for part in parts])[order]


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(flip=True),
        Augmentation(pad_crop=5),
        Augmentation(affine=Affine(degrees=20.0, scale=(0.7, 1.4), translate=0.2)),
        Augmentation(flip=True, pad_crop=3, affine=Affine(scale=(0.7, 1.4))),
        Augmentation(random_resized_crop=RandomResizedCrop(scale=(0.3, 0.8))),
    ],
)
def test_masks_move_as_the_pixels_of_their_images(split: Split, augmentation: Augmentation):
    images, masks = epoch(split, augmentation)
    agree = (images[:, 0] > 127) == (masks == 1)
    assert masks.shape == (6, *SIZE)
    assert agree.float().mean() > 0.97  # interpolated pixels at edges may differ


def test_the_augmentation_of_a_mask_depends_on_seed_epoch_and_image_only(split: Split):
    augmentation = Augmentation(flip=True, random_resized_crop=RandomResizedCrop(scale=(0.3, 0.8)))
    _, masks = epoch(split, augmentation)
    assert torch.equal(masks, epoch(split, augmentation, batch=2)[1])
    assert not torch.equal(masks, epoch(split, augmentation, number=1)[1])


def test_erased_pixels_of_an_image_keep_their_class(split: Split):
    erasing = RandomErasing(probability=1.0)
    assert torch.equal(epoch(split, Augmentation(random_erasing=erasing))[1], epoch(split, Augmentation())[1])


def test_evaluation_masks_are_the_nearest_pixels_and_keep_ignored_values(split: Split, tmp_path: Path):
    mask = np.zeros((48, 64), dtype=np.uint8)
    mask[:24] = IGNORED
    Image.fromarray(mask).save(tmp_path / "0.png")
    (batch,) = EvalBatches(split, PREPROCESS, batch=6, quiet=True)
    assert batch.labels[0].unique().tolist() == [0, IGNORED]
    with Image.open(tmp_path / "1.png") as whole:
        np.testing.assert_array_equal(batch.labels[1], np.array(whole)[1::2, 1::2])


def test_a_wrong_mask_ends_a_training_before_its_first_step(split: Split, tmp_path: Path):
    Image.fromarray(np.full((48, 64), 9, dtype=np.uint8)).save(tmp_path / "3.png")
    with pytest.raises(UserError, match="has the value 9 in 3,072 pixels"):
        TrainingBatches(split, PREPROCESS, Augmentation(), batch=2, seed=0, quiet=True)


def test_masks_without_a_labelled_pixel_are_refused(split: Split, tmp_path: Path):
    for number in range(6):
        Image.fromarray(np.full((48, 64), IGNORED, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match="No pixel of the 6 masks next to"):
        EvalBatches(split, PREPROCESS, batch=2, quiet=True)
