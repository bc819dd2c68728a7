"""Batches of images: shuffled and augmented for training, in order for evaluation.

    batches = TrainingBatches(split, preprocess, augmentation, batch=64, seed=0)
    for batch in batches.epoch(epoch, start=0):  # len(batches) steps; start > 0 resumes an interrupted epoch
        images, labels = batch.on(device)        # float32 (image, 3, row, column), normalised and augmented; int64

A batch is copied to the device as uint8, which is four times smaller than float32, then normalised and augmented there.
Batches of texts are made in the same way: their "images" are hashed tokens, int32 (text, token, feature), and there is
no augmentation.
The number of worker processes does not change the batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from jaxtyping import Float64, Int64

from mixlab.data.any_preprocess import AnyPreprocess, Inputs, Prepared
from mixlab.data.augmentation.augment import (
    UNIFORMS,
    Augmentation,
    augment_normalised,
    rearrange_pixels,
)
from mixlab.data.augmentation.masks import augment_masks
from mixlab.data.dataset import Split
from mixlab.data.image_file import UnreadableImage
from mixlab.data.mask_batches import LabelTensor, label_reader
from mixlab.data.preprocess import Preprocess
from mixlab.data.rng import epoch_order, image_uniforms
from mixlab.data.transforms import Transform
from mixlab.data.workers import ImageReader, ImageWorkers
from mixlab.errors import UserError
from mixlab.report.progress import progress
from mixlab.report.text import pluralize

PRELOAD_BYTES = 2**30
"""A split with resized images of at most this size in total is read once and cached in memory."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Resized images on the CPU, and the settings to normalise and augment them on the device.

    `indices`: the indices of the images in the split.
    `uniforms`: the random numbers of each image for the second stage of augmentation.
    `weight`: the fraction of the step's images, over all processes, that are in this batch.
    """

    images: Prepared
    labels: LabelTensor
    indices: Int64[np.ndarray, " image"]
    uniforms: Float64[np.ndarray, "image uniform"]
    preprocess: AnyPreprocess
    augmentation: Augmentation
    weight: float = 1.0
    transform: Transform | None = None

    def on(self, device: torch.device | str) -> tuple[Inputs, LabelTensor]:
        """Copy the batch to `device`, normalise and augment it. Return the images and labels."""
        if not isinstance(self.preprocess, Preprocess):
            return self.preprocess.normalised(self.images.to(device)), self.labels.to(device)
        images = rearrange_pixels(self.images.to(device), self.uniforms, self.augmentation)
        images = augment_normalised(self.preprocess.normalised(images), self.uniforms, self.augmentation)
        labels = self.labels.to(device)
        if labels.ndim == 3:
            labels = augment_masks(labels, self.uniforms, self.augmentation)
        return images if self.transform is None else self.transform(images), labels


def steps_per_epoch(images: int, batch: int) -> int:
    """Steps per epoch of `images` images in batches of `batch`; see `TrainingBatches` for the last batch."""
    full, rest = divmod(images, batch)
    return max(full + (rest > 1), 1)


class TooManyUnreadableError(UserError):
    """More images than are allowed can't be read, or none can be read."""


class TrainingBatches:
    """Batches for training: every image once per epoch, in an order that depends on (seed, epoch).

    The last batch of an epoch may be smaller. If it would have a single image, that image is skipped in this epoch,
    because batch normalisation needs at least two; in the next epoch a different image is skipped.

    `batch`: images per step, over all processes.
    `workers`: processes that read images; 0 reads them in this process.
    `max_unreadable`: the number of unreadable images to skip. They are found before the first step, so that every epoch
        has the same number of steps, and listed in `unreadable` (name -> reason). With 0, the first unreadable image
        raises UnreadableImage.
    `quiet`: show no progress.

    Raises TooManyUnreadableError if more images, or all of them, are unreadable, and UserError if `pad_crop` is too
    large for the image size.
    """

    def __init__(
        self,
        split: Split,
        preprocess: AnyPreprocess,
        augmentation: Augmentation,
        *,
        batch: int,
        seed: int,
        workers: int = 0,
        max_unreadable: int = 0,
        quiet: bool = False,
    ):
        if isinstance(preprocess, Preprocess) and augmentation.pad_crop >= min(preprocess.image_size):
            raise UserError(
                f"pad_crop={augmentation.pad_crop} is too large for images of {preprocess.image_size} pixels: "
                f"it must be at most {min(preprocess.image_size) - 1}."
            )
        self._split, self._preprocess, self._augmentation = split, preprocess, augmentation
        self._batch, self._seed = batch, seed
        cache = augmentation.crop is None and _fits_in_memory(split, preprocess)
        self._preloaded = _preload(split, preprocess, workers, max_unreadable, cache=cache, quiet=quiet)
        self.unreadable = self._preloaded.unreadable
        reader = ImageReader(split, preprocess, augmentation, seed, self._preloaded.images)
        self._workers = ImageWorkers(reader, workers)
        self._labels = label_reader(split, preprocess, augmentation)

    def __len__(self) -> int:
        """Steps per epoch."""
        return steps_per_epoch(len(self._preloaded.readable), self._batch)

    def epoch(self, epoch: int, start: int = 0, share: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """The batches of an epoch, from step `start` on.

        `share`: (rank, number of processes). Each process gets a slice of every batch, and the slices of all processes
            in order are the whole batch. A process with an empty slice gets the first image with weight 0, so that all
            processes take the same steps.
        """
        rank, processes = share
        readable = self._preloaded.readable
        order = readable[epoch_order(self._seed, epoch, len(readable))]
        whole_batches = _chunks(order, self._batch)[start : len(self)]
        slices = [np.array_split(whole, processes)[rank] for whole in whole_batches]
        batches = [piece if len(piece) else whole[:1] for whole, piece in zip(whole_batches, slices, strict=True)]
        weights = [len(piece) / len(whole) for whole, piece in zip(whole_batches, slices, strict=True)]
        for weight, (indices, images) in zip(weights, self._workers.images(epoch, batches), strict=True):
            uniforms = image_uniforms(self._seed, epoch, indices, UNIFORMS)
            yield Batch(
                images=images,
                labels=self._labels(indices, uniforms),
                indices=indices,
                uniforms=uniforms,
                preprocess=self._preprocess,
                augmentation=self._augmentation,
                weight=weight,
            )


class EvalBatches:
    """Batches for evaluation: every image once, in order, without augmentation.

    A split that fits in memory is read only once. The arguments are those of `TrainingBatches`; `readable` has the
    indices of the images that can be read.
    """

    def __init__(
        self,
        split: Split,
        preprocess: AnyPreprocess,
        *,
        batch: int,
        workers: int = 0,
        max_unreadable: int = 0,
        quiet: bool = False,
    ):
        self._split, self._preprocess, self._batch, self._workers = split, preprocess, batch, workers
        cache = _fits_in_memory(split, preprocess)
        self._preloaded = _preload(split, preprocess, workers, max_unreadable, cache=cache, quiet=quiet)
        self.readable, self.unreadable = self._preloaded.readable, self._preloaded.unreadable
        self._reader = ImageReader(split, preprocess, Augmentation(), 0, self._preloaded.images)
        self._labels = label_reader(split, preprocess, Augmentation())

    def __len__(self) -> int:
        """The number of batches."""
        return -(-len(self.readable) // self._batch)

    def __iter__(self) -> Iterator[Batch]:
        workers = ImageWorkers(self._reader, self._workers)  # those of a training wait at the same time
        for indices, images in workers.images(0, _chunks(self.readable, self._batch)):
            uniforms = np.empty((len(indices), 0))
            yield Batch(
                images=images,
                labels=self._labels(indices, uniforms),
                indices=indices,
                uniforms=uniforms,
                preprocess=self._preprocess,
                augmentation=Augmentation(),
                transform=self._preprocess.transform,
            )


@dataclass(frozen=True, eq=False)
class _Preloaded:
    """The resized images of a split, if they are cached in memory, and the images that are known to be readable."""

    images: Prepared | None
    readable: Int64[np.ndarray, " readable"]
    unreadable: dict[str, str]  # name -> reason


def _preload(
    split: Split, preprocess: AnyPreprocess, workers: int, max_unreadable: int, *, cache: bool, quiet: bool
) -> _Preloaded:
    """Read all images, unless they are not cached and none may be skipped."""
    if not cache and max_unreadable == 0:
        return _Preloaded(None, np.arange(len(split)), {})
    images, failed = _read_all(split, preprocess, workers, max_unreadable, quiet=quiet)
    return _Preloaded(
        images if cache else None,
        np.setdiff1d(np.arange(len(split)), list(failed)),
        {split.names[index]: error.reason for index, error in failed.items()},
    )


def _read_all(
    split: Split, preprocess: AnyPreprocess, workers: int, max_unreadable: int, *, quiet: bool
) -> tuple[Prepared | None, dict[int, UnreadableImage]]:
    """Read every image once. Return the images, if they fit in memory, and the errors."""
    images = (
        torch.from_numpy(np.empty((len(split), *preprocess.input_shape), dtype=preprocess.dtype))
        if _fits_in_memory(split, preprocess)
        else None
    )
    failed: dict[int, UnreadableImage] = {}
    reader = ImageReader(split, preprocess, Augmentation(), 0, None)
    with progress(f"read {preprocess.noun}s", total=len(split), quiet=quiet) as advance:
        for result in ImageWorkers(reader, workers).read(0, _chunks(np.arange(len(split)), 64)):
            failed |= result.failed
            if len(failed) > max_unreadable:
                raise _too_many_unreadable(failed, max_unreadable, preprocess.noun)
            if images is not None:
                images[torch.from_numpy(result.indices)] = torch.from_numpy(result.images)
            advance(len(result.indices) + len(result.failed))
    if len(failed) == len(split):
        raise _too_many_unreadable(failed, max_unreadable, preprocess.noun)
    return images, failed


def _too_many_unreadable(failed: dict[int, UnreadableImage], max_unreadable: int, noun: str) -> UserError:
    first = next(iter(failed.values()))
    if max_unreadable == 0:
        return first
    return TooManyUnreadableError(
        f"{pluralize(len(failed), noun)} can't be read, but only max_unreadable={max_unreadable} may be skipped; the "
        f"first is {first.image}: {first.reason}. Repair or remove them, or raise max_unreadable."
    )


def _fits_in_memory(split: Split, preprocess: AnyPreprocess) -> bool:
    return len(split) * prod(preprocess.input_shape) * preprocess.dtype.itemsize <= PRELOAD_BYTES


def _chunks(indices: Int64[np.ndarray, " image"], size: int) -> list[np.ndarray]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]
