import errno
import os
import signal
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.data import batches as batches_module
from mixlab.data import workers as workers_module
from mixlab.data.augmentation.affine import Affine
from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.augmentation.crop import RandomResizedCrop
from mixlab.data.augmentation.erasing import RandomErasing
from mixlab.data.augmentation.jitter import ColorJitter
from mixlab.data.augmentation.randaugment_timm import RandAugmentTimm
from mixlab.data.batches import Batch, EvalBatches, TooManyUnreadableError, TrainingBatches
from mixlab.data.dataset import Split
from mixlab.data.image_file import UnreadableImage
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.report.progress import Advance, progress
from sounds import SPECTROGRAM

PREPROCESS = Preprocess((8, 8))
AUGMENTATION = Augmentation(flip=True, affine=Affine(10.0), pad_crop=1)
CROP = Augmentation(random_resized_crop=RandomResizedCrop())
RANDAUGMENT = Augmentation(
    flip=True,
    randaugment_timm=RandAugmentTimm(9.0),
    color_jitter=ColorJitter(0.4, 0.4, 0.4),
    random_erasing=RandomErasing(0.5),
)


def training(split: Split, augmentation: Augmentation = AUGMENTATION, batch: int = 5, **options) -> TrainingBatches:
    return TrainingBatches(split, PREPROCESS, augmentation, batch=batch, seed=0, **options)


def pixels(batches: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.on("cpu")[0] for batch in batches])


@pytest.fixture
def files(write_tree) -> Split:
    """Twelve image files of two classes."""
    root = write_tree("cat", 12)
    paths = sorted(root.rglob("*.png"))
    return Split([path.name for path in paths], np.arange(12) % 2, paths)


@pytest.fixture
def no_preloading(monkeypatch) -> None:
    """No split fits into memory."""
    monkeypatch.setattr(batches_module, "PRELOAD_BYTES", 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_deep_images_have_the_value_range_of_the_preprocessing(tmp_path, workers):
    Image.fromarray(np.full((8, 8), 2048, dtype=np.uint16)).save(tmp_path / "a.png")
    split = Split(["a", "b"], np.array([0, 1]), [tmp_path / "a.png"] * 2)
    preprocess = replace(PREPROCESS, value_range=(0, 4095))
    (evaluated,) = EvalBatches(split, preprocess, batch=2, workers=workers)
    batches = TrainingBatches(split, preprocess, CROP, batch=2, seed=0, workers=workers)
    (trained,) = batches.epoch(0)
    assert evaluated.images.eq(128).all() and trained.images.eq(128).all()


def damage(split: Split, *indices: int) -> None:
    for index in indices:
        path = split.images[index]
        assert isinstance(path, Path)
        path.write_bytes(b"")


def test_an_epoch_has_every_image_once_with_its_label(noise):
    epoch_batches = list(training(noise).epoch(0))
    indices = np.concatenate([batch.indices for batch in epoch_batches])
    assert sorted(indices) == list(range(24))
    assert torch.cat([batch.on("cpu")[1] for batch in epoch_batches]).tolist() == noise.labels[indices].tolist()


def test_a_batch_has_the_images_of_its_indices(noise):
    for batch in training(noise, Augmentation()).epoch(0):
        expected = [PREPROCESS(noise.image(index)) for index in batch.indices]
        assert batch.on("cpu")[0].equal(torch.stack(expected))


def test_epochs_differ_in_order_and_are_reproducible(noise):
    batches = training(noise)
    first, repeated, second = (list(batches.epoch(epoch)) for epoch in (0, 0, 1))
    assert pixels(first).equal(pixels(repeated))
    assert not (first[0].indices == second[0].indices).all()


def test_an_image_is_augmented_differently_in_each_epoch(noise):
    batches = training(noise)
    by_epoch = [
        dict(zip(np.concatenate([b.indices for b in epoch_batches]).tolist(), pixels(epoch_batches), strict=True))
        for epoch_batches in (list(batches.epoch(0)), list(batches.epoch(1)))
    ]
    assert not any(by_epoch[0][index].equal(by_epoch[1][index]) for index in range(24))


def test_an_epoch_can_be_resumed(noise):
    batches = training(noise)
    assert pixels(list(batches.epoch(3))[2:]).equal(pixels(list(batches.epoch(3, start=2))))


@pytest.mark.parametrize(
    ("batch", "sizes"), [(8, [8, 8, 8]), (7, [7, 7, 7, 3]), (23, [23]), (100, [24]), (1, [1] * 24)]
)
def test_the_last_batch_is_smaller_but_has_no_single_image(noise, batch, sizes):
    batches = training(noise, batch=batch)
    assert [len(step.indices) for step in batches.epoch(0)] == sizes
    assert len(batches) == len(sizes)


def test_a_split_of_one_image_has_one_batch(noise):
    assert [len(step.indices) for step in training(noise.subset([3])).epoch(0)] == [1]


@pytest.mark.parametrize("augmentation", [AUGMENTATION, CROP, RANDAUGMENT])
def test_workers_do_not_change_the_batches(files, no_preloading, augmentation):
    without_workers, with_workers = (
        list(training(files, augmentation, workers=workers).epoch(1)) for workers in (0, 2)
    )
    assert [batch.indices.tolist() for batch in without_workers] == [batch.indices.tolist() for batch in with_workers]
    assert pixels(without_workers).equal(pixels(with_workers))


def test_workers_do_not_advance_the_generator_of_torch(files, no_preloading):
    before = torch.get_rng_state()
    list(training(files, workers=2).epoch(0))
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("augmentation", [AUGMENTATION, RANDAUGMENT])
@pytest.mark.parametrize("workers", [0, 2])
def test_preloading_does_not_change_the_batches(files, monkeypatch, augmentation, workers):
    preloaded = pixels(list(training(files, augmentation, workers=workers).epoch(0)))
    monkeypatch.setattr(batches_module, "PRELOAD_BYTES", 0)
    assert pixels(list(training(files, augmentation).epoch(0))).equal(preloaded)


def test_preloaded_images_are_augmented_differently_in_each_epoch(noise):
    batches = training(noise.subset([0]), RANDAUGMENT)
    assert len({pixels(list(batches.epoch(epoch))).numpy().tobytes() for epoch in range(8)}) == 8


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("augmentation", [RANDAUGMENT, CROP])
def test_the_slices_of_all_processes_are_the_whole_batch(noise, workers, processes, augmentation):
    batches = training(noise, augmentation, workers=workers)
    shares = [list(batches.epoch(2, 1, (process, processes))) for process in range(processes)]
    for whole, pieces in zip(batches.epoch(2, 1), zip(*shares, strict=True), strict=True):
        assert np.concatenate([piece.indices for piece in pieces]).tolist() == whole.indices.tolist()
        assert pixels(list(pieces)).equal(pixels([whole]))
        assert torch.cat([piece.labels for piece in pieces]).equal(whole.labels)
        assert [piece.weight for piece in pieces] == [len(piece.indices) / len(whole.indices) for piece in pieces]
        assert whole.weight == 1


def test_a_process_without_images_gets_one_with_weight_0(noise):
    batches = training(noise, batch=11)  # 11, 11 and 2
    whole = list(batches.epoch(0))[-1]
    lasts = [list(batches.epoch(0, share=(process, 3)))[-1] for process in range(3)]
    assert [last.weight for last in lasts] == [0.5, 0.5, 0]
    assert [last.indices.tolist() for last in lasts] == [*whole.indices[:, None].tolist(), [whole.indices[0]]]


def test_preloaded_images_are_read_once(files):
    batches = training(files)
    damage(files, 0)
    assert len(list(batches.epoch(0))) == 3


def test_random_crops_differ_between_epochs(noise):
    batches = training(noise.subset([0]), CROP)
    crops = {pixels(list(batches.epoch(epoch))).numpy().tobytes() for epoch in range(8)}
    assert len(crops) == 8


def test_a_crop_does_not_depend_on_the_batch_size(noise):
    small, large = (
        {
            int(index): image
            for batch in training(noise, CROP, batch=batch).epoch(0)
            for index, image in zip(batch.indices, batch.images, strict=True)
        }
        for batch in (5, 24)
    )
    assert all(small[index].equal(large[index]) for index in small)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named(files, no_preloading, workers):
    damage(files, 4)
    with pytest.raises(UnreadableImage, match=r"cat/004.png can't be read: it is empty.$"):
        list(training(files, workers=workers).epoch(0))


def test_preloading_finds_an_unreadable_image_before_the_first_step(files):
    damage(files, 4)
    with pytest.raises(UnreadableImage, match=r"cat/004.png"):
        training(files)


@pytest.mark.parametrize("augmentation", [AUGMENTATION, CROP])
def test_allowed_unreadable_images_are_listed_and_skipped(files, augmentation):
    damage(files, 4, 7)
    batches = training(files, augmentation, max_unreadable=2)
    assert batches.unreadable == {"004.png": "it is empty", "007.png": "it is empty"}
    for epoch in range(2):
        indices = np.concatenate([batch.indices for batch in batches.epoch(epoch)])
        assert sorted(indices) == [0, 1, 2, 3, 5, 6, 8, 9, 10, 11]
    assert len(batches) == 2


def test_too_many_unreadable_images_are_an_error(files):
    damage(files, 4, 7)
    with pytest.raises(
        UserError, match=r"2 images can't be read, but only max_unreadable=1 .*004.png: it is empty. Repair"
    ):
        training(files, max_unreadable=1)


def test_a_split_without_readable_images_is_an_error(files):
    damage(files, *range(12))
    with pytest.raises(TooManyUnreadableError, match="12 images can't be read"):
        training(files, max_unreadable=100)


def test_unreadable_sounds_are_called_sounds(files, monkeypatch):
    labels: list[str] = []

    def recorded(label: str, total: int, *, quiet: bool) -> AbstractContextManager[Advance]:
        labels.append(label)
        return progress(label, total, quiet=quiet)

    monkeypatch.setattr(batches_module, "progress", recorded)
    sounds = replace(PREPROCESS, spectrogram=SPECTROGRAM)  # none of the files is a sound
    with pytest.raises(UserError, match="12 sounds can't be read"):
        EvalBatches(files, sounds, batch=5, max_unreadable=11)
    assert labels == ["read sounds"]


def test_a_padded_crop_wider_than_the_image_is_refused(noise):
    with pytest.raises(UserError, match=r"pad_crop=8 is too large for images of \(8, 8\) pixels: .* at most 7"):
        training(noise, Augmentation(pad_crop=8))


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_has_every_image_in_order_without_augmentation(files, no_preloading, workers):
    batches = EvalBatches(files, PREPROCESS, batch=5, workers=workers)
    epoch_batches = list(batches)
    assert len(epoch_batches) == len(batches) == 3
    assert np.concatenate([batch.indices for batch in epoch_batches]).tolist() == list(range(12))
    assert pixels(epoch_batches).equal(torch.stack([PREPROCESS(files.image(index)) for index in range(12)]))


def test_a_second_evaluation_reads_no_files(files):
    batches = EvalBatches(files, PREPROCESS, batch=5)
    first = pixels(list(batches))
    damage(files, 0)
    assert pixels(list(batches)).equal(first)


@pytest.mark.parametrize("preload_bytes", [0, 2**30])
def test_evaluation_skips_allowed_unreadable_images(files, monkeypatch, preload_bytes):
    monkeypatch.setattr(batches_module, "PRELOAD_BYTES", preload_bytes)
    damage(files, 4, 7)
    batches = EvalBatches(files, PREPROCESS, batch=5, max_unreadable=2)
    assert batches.unreadable == {"004.png": "it is empty", "007.png": "it is empty"}
    assert [len(batch.indices) for batch in batches] == [5, 5]
    assert len(batches) == 2
    indices = np.concatenate([batch.indices for batch in batches])
    assert indices.tolist() == batches.readable.tolist() == [0, 1, 2, 3, 5, 6, 8, 9, 10, 11]
    assert pixels(list(batches)).equal(torch.stack([PREPROCESS(files.image(index)) for index in indices]))


def test_preloading_for_evaluation_finds_an_unreadable_image(files):
    damage(files, 4)
    with pytest.raises(UnreadableImage, match=r"cat/004.png can't be read: it is empty.$"):
        EvalBatches(files, PREPROCESS, batch=5)


def test_evaluation_names_an_unreadable_image(files, no_preloading):
    damage(files, 4)
    with pytest.raises(UnreadableImage, match=r"cat/004.png can't be read: it is empty.$"):
        list(EvalBatches(files, PREPROCESS, batch=5))


class KillingImage:
    """An image that kills the process that reads it."""

    size = 1

    def read_bytes(self) -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""


@pytest.mark.usefixtures("no_preloading")
@pytest.mark.parametrize(("spectrogram", "noun"), [(None, "image"), (SPECTROGRAM, "sound")])
def test_a_killed_worker_is_a_user_error(files, spectrogram, noun):
    killing = replace(files, images=[KillingImage()] * len(files))
    batches = EvalBatches(killing, replace(PREPROCESS, spectrogram=spectrogram), batch=5, workers=2)
    sentence = rf"^One of the 2 processes that read {noun}s was killed, .* run again with fewer workers"
    with pytest.raises(UserError, match=sentence):
        list(batches)


@pytest.mark.usefixtures("no_preloading")
def test_images_of_workers_need_no_shared_memory_of_torch(files, monkeypatch):
    def refuse(*_):
        raise RuntimeError("unable to allocate shared memory")

    for name in ("_share_fd_cpu_", "_share_filename_cpu_"):
        monkeypatch.setattr(torch.UntypedStorage, name, refuse)
    assert len(list(training(files, CROP, workers=2).epoch(0))) == 3


@pytest.mark.usefixtures("no_preloading")
@pytest.mark.parametrize(("spectrogram", "noun"), [(None, "image"), (SPECTROGRAM, "sound")])
def test_workers_that_cannot_be_started_are_a_user_error(files, monkeypatch, spectrogram, noun):
    def refuse():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(workers_module, "Queue", refuse)
    sentence = (
        rf"^The 2 processes that read {noun}s could not be started \(No space left on device\): run again with "
        r"workers=0, or allow more processes, open files and shared memory \(docker run --shm-size\)\.$"
    )
    with pytest.raises(UserError, match=sentence):
        list(EvalBatches(files, replace(PREPROCESS, spectrogram=spectrogram), batch=5, workers=2))
