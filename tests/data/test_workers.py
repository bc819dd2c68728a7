"""Worker processes, as `TrainingBatches` uses them."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from mixlab.data import batches as batches_module
from mixlab.data import workers as workers_module
from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.augmentation.crop import RandomResizedCrop
from mixlab.data.augmentation.jitter import ColorJitter
from mixlab.data.batches import Batch, TrainingBatches
from mixlab.data.dataset import Split
from mixlab.data.preprocess import Preprocess
from mixlab.data.workers import ImageReader

CROP = Augmentation(flip=True, random_resized_crop=RandomResizedCrop())
JITTER = Augmentation(color_jitter=ColorJitter(0.4, 0.4, 0.4))


def training(split: Split, augmentation: Augmentation, batch: int = 5, workers: int = 0) -> TrainingBatches:
    return TrainingBatches(split, Preprocess((8, 8)), augmentation, batch=batch, seed=0, workers=workers)


def pixels(batches: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.on("cpu")[0] for batch in batches])


@pytest.fixture
def files(write_tree) -> Split:
    """Twelve image files."""
    paths = sorted(write_tree("cat", 12).rglob("*.png"))
    return Split([path.name for path in paths], np.arange(12) % 2, paths)


@pytest.fixture
def no_preloading(monkeypatch) -> None:
    """No split fits into memory."""
    monkeypatch.setattr(batches_module, "PRELOAD_BYTES", 0)


@pytest.mark.usefixtures("no_preloading")
def test_batches_of_workers_can_be_kept_while_later_ones_are_read(files):
    batches = training(files, CROP, batch=1, workers=2)  # twelve batches in five slots
    expected = {int(batch.indices[0]): batch.images for batch in training(files, CROP, batch=1).epoch(1)}
    for _ in range(2):
        assert all(batch.images.equal(expected[int(batch.indices[0])]) for batch in list(batches.epoch(1)))


class NamingReader:
    """An image file that stores the process that reads it."""

    size = 1

    def __init__(self, path: Path, log: Path):
        self.path, self.log = path, log

    def read_bytes(self) -> bytes:
        (self.log / f"{os.getpid()}").touch()
        return self.path.read_bytes()


@pytest.fixture
def named_readers(files, tmp_path, no_preloading) -> tuple[Split, Path]:
    """The image files, and a folder with a file for each process that has read one."""
    log = tmp_path / "readers"
    log.mkdir()
    return replace(files, images=[NamingReader(path, log) for path in files.images if isinstance(path, Path)]), log


def test_the_same_workers_read_all_epochs(named_readers):
    split, log = named_readers
    batches = training(split, CROP, workers=2)
    for epoch in range(3):
        assert len(list(batches.epoch(epoch))) == 3
    readers = {path.name for path in log.iterdir()}
    assert 1 <= len(readers) <= 2 and str(os.getpid()) not in readers


def test_epochs_that_are_read_at_the_same_time_or_abandoned_do_not_change_others(files, no_preloading):
    batches, expected = training(files, CROP, workers=2), training(files, CROP)
    list(batches.epoch(0))
    next(batches.epoch(4))
    for ours, theirs in zip(batches.epoch(1), batches.epoch(2), strict=True):
        assert len(ours.images) == len(theirs.images)
    for epoch in (1, 2, 3):
        assert pixels(list(batches.epoch(epoch))).equal(pixels(list(expected.epoch(epoch))))


def test_a_larger_batch_than_before_has_its_own_workers(files, no_preloading):
    batches, expected = training(files, CROP, workers=1), training(files, CROP)
    for share in ((0, 3), (0, 1), (1, 2)):
        assert pixels(list(batches.epoch(0, share=share))).equal(pixels(list(expected.epoch(0, share=share))))


@pytest.mark.long
@pytest.mark.parametrize("augmentation", [CROP, JITTER], ids=["files", "images in memory"])
def test_workers_that_are_spawned_do_not_change_the_batches(files, augmentation):
    method = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        batches = training(files, augmentation, workers=2)
        spawned = [pixels(list(batches.epoch(epoch))) for epoch in range(2)]
    finally:
        multiprocessing.set_start_method(method, force=True)
    expected = training(files, augmentation)
    assert all(images.equal(pixels(list(expected.epoch(epoch)))) for epoch, images in enumerate(spawned))


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_does_not_grow_over_epochs(noise, workers):
    batches = TrainingBatches(noise, Preprocess((64, 64)), CROP, batch=6, seed=0, workers=workers)
    used = [memory_after(batches, epochs) for epochs in (range(20), range(20, 80))]
    assert used[1] - used[0] < 8 * 2**20  # the batches of 60 epochs have 17 MB


def memory_after(batches: TrainingBatches, epochs: range) -> int:
    """Bytes in memory of this process and its workers after some epochs."""
    for epoch in epochs:
        assert len(list(batches.epoch(epoch))) == 4
    process = psutil.Process()
    return sum(each.memory_info().rss for each in (process, *process.children()))


@pytest.mark.parametrize("unreadable", [(), (0,), (6, 7), (3, 4, 9), tuple(range(10))])
@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_threads_read_the_images_in_order_and_leave_out_unreadable_ones(files, monkeypatch, threads, unreadable):
    monkeypatch.setattr(workers_module, "usable_cores", lambda: threads)
    for index in unreadable:
        files.images[index].write_bytes(b"")
    reader = ImageReader(files, Preprocess((8, 8)), CROP, 0, None)
    indices = np.arange(10)[::-1]
    expected = np.empty((10, *reader.image_shape), dtype=np.uint8)
    read, failed = reader.read_into(expected, 1, indices)
    with ThreadPoolExecutor(threads) as pool:
        result = reader.read(1, indices, pool)
    assert np.array_equal(result.indices, read)
    assert np.array_equal(result.images, expected[: len(read)])
    assert list(result.failed) == list(failed) == sorted(unreadable, reverse=True)
