"""SpecAugment and the shift in time: what is masked and moved, and where the random numbers come from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mixlab.data.audio.sound_file import Sound
from mixlab.data.audio.spectrogram import Spectrogram
from mixlab.data.augmentation.augment import UNIFORMS as ALL_UNIFORMS
from mixlab.data.augmentation.augment import Augmentation, augment_normalised
from mixlab.data.augmentation.crop import RandomResizedCrop
from mixlab.data.augmentation.spectrogram import UNIFORMS, SpecAugment, mask_bands_and_frames, shift_in_time
from mixlab.data.batches import TrainingBatches
from mixlab.data.dataset import Split
from mixlab.data.preprocess import Preprocess
from mixlab.data.rng import image_uniforms
from mixlab.errors import UserError
from sounds import tone, write_sound

SETTINGS = Spectrogram(sample_rate=8_000, window=256, hop=100, mels=40, seconds=0.5)
PREPROCESS = Preprocess(SETTINGS.image_size, spectrogram=SETTINGS)


def normal_images(count: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, 40, 50)


def masked_lines(before: torch.Tensor, after: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(image, row) and (image, column): lines of which every pixel was changed."""
    changed = (before != after).all(dim=1)
    return changed.all(dim=2).numpy(), changed.all(dim=1).numpy()


def test_masks_are_whole_rows_and_columns_with_the_mean_of_the_image():
    images = normal_images()
    after = mask_bands_and_frames(images, image_uniforms(0, 0, np.arange(64), UNIFORMS), SpecAugment())
    rows, columns = masked_lines(images, after)
    expected = rows[:, :, None] | columns[:, None, :]
    assert ((images != after).any(dim=1).numpy() == expected).all()
    assert 0 < rows.mean() < 0.25 and 0 < columns.mean() < 0.25
    means = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    torch.testing.assert_close(after[images != after], means[images != after], rtol=0, atol=0)


def test_a_mask_has_every_width_up_to_the_limit():
    uniforms = image_uniforms(0, 0, np.arange(2_000), UNIFORMS)
    images = torch.randn(2_000, 1, 20, 20)
    one = SpecAugment(frequency_masks=1, frequency_width=0.25, time_masks=0)
    rows, columns = masked_lines(images, mask_bands_and_frames(images, uniforms, one))
    assert not columns.any()
    counts = np.bincount(rows.sum(axis=1), minlength=6) / 2_000
    np.testing.assert_allclose(counts, 1 / 6, atol=0.03)
    assert rows.any(axis=0).all()  # everywhere


def test_a_shift_moves_the_whole_image_and_fills_with_silence():
    images = torch.randint(1, 256, (3, 3, 8, 20), dtype=torch.uint8)
    left, still, right = shift_in_time(images, np.array([0.999, 0.5, 0.0]), 0.2)
    assert left[:, :, :16].equal(images[0, :, :, 4:]) and not left[:, :, 16:].any()
    assert still.equal(images[1])
    assert right[:, :, 4:].equal(images[2, :, :, :16]) and not right[:, :, :4].any()


def test_the_random_numbers_of_other_augmentations_are_those_of_before():
    images, uniforms = normal_images(8), image_uniforms(3, 1, np.arange(8), ALL_UNIFORMS)
    fewer = image_uniforms(3, 1, np.arange(8), ALL_UNIFORMS - UNIFORMS - 1)
    assert (uniforms[:, : fewer.shape[1]] == fewer).all()
    assert augment_normalised(images, uniforms, Augmentation()) is images


@pytest.fixture
def split(tmp_path: Path) -> Split:
    files = [write_sound(tmp_path / f"{n}.wav", tone(300 + 40 * n, 0.4), 16_000) for n in range(12)]
    return Split([file.name for file in files], np.arange(12) % 2, [Sound(file) for file in files])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_augmented_sound_depends_on_seed_epoch_and_sound_only(split: Split, workers: int):
    augmentation = Augmentation(time_shift=0.2, spec_augment=SpecAugment())

    def images(batch: int, seed: int, epoch: int, workers: int) -> dict[int, torch.Tensor]:
        batches = TrainingBatches(split, PREPROCESS, augmentation, batch=batch, seed=seed, workers=workers, quiet=True)
        return {
            int(index): image
            for each in batches.epoch(epoch)
            for index, image in zip(each.indices, each.on("cpu")[0], strict=True)
        }

    first, second = images(4, 0, 0, 0), images(6, 0, 0, workers)
    assert all(first[index].equal(second[index]) for index in range(12))
    other_epoch, other_seed = images(4, 0, 1, 0), images(4, 1, 0, 0)
    assert not any(first[index].equal(other_epoch[index]) for index in range(12))
    assert not any(first[index].equal(other_seed[index]) for index in range(12))


def test_a_random_crop_of_a_sound_is_one_of_its_spectrogram(split: Split):
    augmentation = Augmentation(random_resized_crop=RandomResizedCrop())
    (batch,) = TrainingBatches(split, PREPROCESS, augmentation, batch=12, seed=0, quiet=True).epoch(0)
    assert batch.on("cpu")[0].shape == (12, 3, 40, 40)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpecAugment(time_masks=3), "augmentation.spec_augment.time_masks=3 is invalid: .* from 0 to 2"),
        (lambda: SpecAugment(frequency_width=0.0), "spec_augment.frequency_width=0.0 is invalid"),
        (lambda: Augmentation(time_shift=1.0), "augmentation.time_shift=1.0 is invalid: .* between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_refused(make, message: str):
    with pytest.raises(UserError, match=message):
        make()
