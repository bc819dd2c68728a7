"""Images to batches: for training, in a derived order with derived augmentation; for judging, in their own order.

    batches = TrainingBatches(part, preprocess, augmentation, batch=64, seed=0)
    for batch in batches.epoch(epoch, start=0):  # len(batches) steps; `start` of them were done before an interruption
        images, labels = batch.on(device)        # float32 (image, 3, row, column), normalised and augmented; int64

A batch travels as uint8, four times smaller than float, and is normalised and augmented on the device.
Workers only read: their number changes no bit of a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mixlab.data.augmentation.augment import UNIFORMS, Augmentation, augment_batch, augment_image, resized
from mixlab.data.dataset import Split
from mixlab.data.image_file import UnreadableImage
from mixlab.data.preprocess import Preprocess
from mixlab.data.rng import epoch_order, image_uniforms
from mixlab.data.transforms import Transform
from mixlab.errors import UserError
from mixlab.measure.machine import usable_cores
from mixlab.report.progress import progress

PRELOAD_BYTES = 2**30
"""A part whose resized images take no more than this is read once and kept in memory."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Resized images on the CPU, and what finishes them on the device; `indices` count in the part.

    `weight`: their share of all the images that the processes together take in this step.
    """

    images: UInt8[Tensor, "image 3 row column"]
    labels: Int64[Tensor, " image"]
    indices: Int64[np.ndarray, " image"]
    uniforms: Float64[np.ndarray, "image draw"]
    preprocess: Preprocess
    augmentation: Augmentation
    weight: float = 1.0
    transform: Transform | None = None

    def on(self, device: torch.device | str) -> tuple[Float[Tensor, "image 3 row column"], Int64[Tensor, " image"]]:
        images = self.preprocess.normalised(self.images.to(device))
        images = augment_batch(images, self.uniforms, self.augmentation)
        return images if self.transform is None else self.transform(images), self.labels.to(device)


def steps_per_epoch(images: int, batch: int) -> int:
    full, rest = divmod(images, batch)
    return max(full + (rest > 1), 1)


class TrainingBatches:
    """Every image once an epoch, in an order that (seed, epoch) decides.

    The last batch takes what is left; a single image that would be left alone sits this epoch out, because batch
    normalisation knows no deviation of one (the next epoch's order leaves out another).

    `max_unreadable` images may be unreadable: they are found before the first step, so that every epoch has the same
    steps, named in `unreadable` (name -> reason), and skipped. With 0, the first one met is the error.
    """

    def __init__(
        self,
        split: Split,
        preprocess: Preprocess,
        augmentation: Augmentation,
        *,
        batch: int,
        seed: int,
        workers: int = 0,
        max_unreadable: int = 0,
        quiet: bool = False,
    ):
        if augmentation.pad_crop >= min(preprocess.image_size):
            raise UserError(
                f"pad_crop={augmentation.pad_crop} reflects more than there is of {preprocess.image_size} pixels: "
                f"it can be at most {min(preprocess.image_size) - 1}."
            )
        self._part, self._preprocess, self._augmentation = split, preprocess, augmentation
        self._batch, self._seed, self._workers = batch, seed, workers
        keep = augmentation.crop is None and _fits(split, preprocess)
        self._compute = _preload(split, preprocess, workers, max_unreadable, keep=keep, quiet=quiet)
        self.unreadable = self._compute.unreadable

    def __len__(self) -> int:
        """Steps in an epoch."""
        return steps_per_epoch(len(self._compute.readable), self._batch)

    def epoch(self, epoch: int, start: int = 0, share: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """The epoch's batches from step `start` on; with share = (process, processes), that process's part of each.

        The parts of all processes together are the batch, in its order. Where there are fewer images than processes,
        the last ones are given its first image with weight 0, so that all take every step.
        """
        process, processes = share
        readable = self._compute.readable
        order = readable[epoch_order(self._seed, epoch, len(readable))]
        wholes = _chunks(order, self._batch)[start : len(self)]
        pieces = [np.array_split(whole, processes)[process] for whole in wholes]
        requests = [(epoch, piece if len(piece) else whole[:1]) for whole, piece in zip(wholes, pieces, strict=True)]
        weights = [len(piece) / len(whole) for whole, piece in zip(wholes, pieces, strict=True)]
        reader = _Reader(self._part, self._preprocess, self._augmentation, self._seed, self._compute.kept)
        for weight, (indices, images) in zip(weights, _images(reader, requests, self._workers), strict=True):
            yield Batch(
                images=images,
                labels=torch.from_numpy(self._part.labels[indices]),
                indices=indices,
                uniforms=image_uniforms(self._seed, epoch, indices, UNIFORMS),
                preprocess=self._preprocess,
                augmentation=self._augmentation,
                weight=weight,
            )


class EvalBatches:
    """Every image once, in the part's order, as it is. Iterating again reads nothing again, where the part fits.

    `max_unreadable` images may be unreadable, as in training; `readable` holds the places of the others in the part.
    """

    def __init__(
        self,
        split: Split,
        preprocess: Preprocess,
        *,
        batch: int,
        workers: int = 0,
        max_unreadable: int = 0,
        quiet: bool = False,
    ):
        self._part, self._preprocess, self._batch, self._workers = split, preprocess, batch, workers
        keep = _fits(split, preprocess)
        self._compute = _preload(split, preprocess, workers, max_unreadable, keep=keep, quiet=quiet)
        self.readable, self.unreadable = self._compute.readable, self._compute.unreadable

    def __len__(self) -> int:
        return -(-len(self.readable) // self._batch)

    def __iter__(self) -> Iterator[Batch]:
        requests = [(0, indices) for indices in _chunks(self.readable, self._batch)]
        reader = _Reader(self._part, self._preprocess, Augmentation(), 0, self._compute.kept)
        for indices, images in _images(reader, requests, self._workers):
            yield Batch(
                images=images,
                labels=torch.from_numpy(self._part.labels[indices]),
                indices=indices,
                uniforms=np.empty((len(indices), 0)),
                preprocess=self._preprocess,
                augmentation=Augmentation(),
                transform=self._preprocess.transform,
            )


_Request = tuple[int, np.ndarray]
"""An epoch, and the indices of the images to read."""


@dataclass(frozen=True, eq=False)
class _Read:
    """The images that could be read, and why the others could not."""

    images: UInt8[Tensor, "image 3 row column"]
    indices: Int64[np.ndarray, " image"]
    failed: dict[int, UnreadableImage]


class _Reader(TorchDataset[_Read]):
    """What a worker does. Errors are returned: torch would wrap one that is raised in a traceback.

    `kept`: the part's resized images, which need no reading.
    """

    def __init__(
        self,
        split: Split,
        preprocess: Preprocess,
        augmentation: Augmentation,
        seed: int,
        kept: UInt8[Tensor, "image 3 row column"] | None,
    ):
        self._part, self._preprocess, self._augmentation, self._seed = split, preprocess, augmentation, seed
        self._kept = kept

    @property
    def has_all(self) -> bool:
        """Whether the images lie there as they are asked for."""
        return self._kept is not None and not self._augmentation.changes_each_image

    def __getitem__(self, request: _Request) -> _Read:
        epoch, indices = request
        if self._kept is not None and self.has_all:
            return _Read(self._kept[torch.from_numpy(indices)], indices, {})
        uniforms = image_uniforms(self._seed, epoch, indices, UNIFORMS)
        images: dict[int, UInt8[Tensor, "3 row column"]] = {}
        failed: dict[int, UnreadableImage] = {}
        for index, of_image in zip(indices.tolist(), uniforms, strict=True):
            try:
                images[index] = self._prepared(index, of_image)
            except UnreadableImage as error:
                failed[index] = error
        stacked = torch.stack(list(images.values())) if images else torch.empty((0, 3, 1, 1), dtype=torch.uint8)
        return _Read(stacked, np.array(list(images), dtype=np.int64), failed)

    def _prepared(self, index: int, uniforms: Float64[np.ndarray, " draw"]) -> UInt8[Tensor, "3 row column"]:
        if self._kept is None:
            image = resized(self._part.image(index), uniforms, self._augmentation, self._preprocess)
        else:
            image = self._kept[index]
        if not self._augmentation.changes_each_image:
            return image
        return augment_image(image, uniforms, self._augmentation, self._preprocess)


def _read(reader: _Reader, requests: list[_Request], workers: int) -> Iterator[_Read]:
    if workers == 0 or reader.has_all:
        yield from map(reader.__getitem__, requests)
        return
    workers = min(
        workers, usable_cores()
    )  # torch complains of more; a recipe may have been written for a larger machine
    # Its own generator: seeding the workers would otherwise advance torch's, and workers must change nothing.
    loader = DataLoader(reader, sampler=requests, batch_size=None, num_workers=workers, generator=torch.Generator())
    try:
        yield from loader
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(
            f"One of the {workers} processes that read images was killed, most likely for want of memory: run again "
            "with fewer workers; what was trained up to the last checkpoint is kept."
        ) from error


def _images(
    reader: _Reader, requests: list[_Request], workers: int
) -> Iterator[tuple[Int64[np.ndarray, " chosen"], UInt8[Tensor, "chosen 3 row column"]]]:
    """What each request asks for; the first unreadable image is raised."""
    for read in _read(reader, requests, workers):
        for error in read.failed.values():
            raise error
        yield read.indices, read.images


@dataclass(frozen=True, eq=False)
class _Seen:
    """A part's images, as far as they are kept in memory, and which of them can be read, as far as that is known."""

    kept: UInt8[Tensor, "image 3 row column"] | None
    readable: Int64[np.ndarray, " readable"]
    unreadable: dict[str, str]  # name -> reason


def _preload(
    split: Split, preprocess: Preprocess, workers: int, max_unreadable: int, *, keep: bool, quiet: bool
) -> _Seen:
    """Nothing is read where nothing is kept and nothing may be left out."""
    if not keep and max_unreadable == 0:
        return _Seen(None, np.arange(len(split)), {})
    kept, failed = _read_all(split, preprocess, workers, max_unreadable, quiet=quiet)
    return _Seen(
        kept if keep else None,
        np.setdiff1d(np.arange(len(split)), list(failed)),
        {split.names[index]: error.reason for index, error in failed.items()},
    )


def _read_all(
    split: Split, preprocess: Preprocess, workers: int, max_unreadable: int, *, quiet: bool
) -> tuple[UInt8[Tensor, "image 3 row column"] | None, dict[int, UnreadableImage]]:
    """Every image once: all of them if they fit into memory, and what went wrong."""
    kept = torch.empty((len(split), 3, *preprocess.image_size), dtype=torch.uint8) if _fits(split, preprocess) else None
    failed: dict[int, UnreadableImage] = {}
    requests = [(0, indices) for indices in _chunks(np.arange(len(split)), 64)]
    with progress("read images", total=len(split), quiet=quiet) as advance:
        for read in _read(_Reader(split, preprocess, Augmentation(), 0, None), requests, workers):
            failed |= read.failed
            if len(failed) > max_unreadable:
                raise _too_many(failed, max_unreadable)
            if kept is not None:
                kept[torch.from_numpy(read.indices)] = read.images
            advance(len(read.indices) + len(read.failed))
    if len(failed) == len(split):
        raise _too_many(failed, max_unreadable)
    return kept, failed


def _too_many(failed: dict[int, UnreadableImage], max_unreadable: int) -> UserError:
    first = next(iter(failed.values()))
    if max_unreadable == 0:
        return first
    return UserError(
        f"{len(failed)} images can't be read, and max_unreadable={max_unreadable} may be left out; the first is "
        f"{first.image}: {first.reason}. Mend or remove them, or raise max_unreadable."
    )


def _fits(split: Split, preprocess: Preprocess) -> bool:
    height, width = preprocess.image_size
    return len(split) * 3 * height * width <= PRELOAD_BYTES


def _chunks(indices: Int64[np.ndarray, " image"], size: int) -> list[np.ndarray]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]
