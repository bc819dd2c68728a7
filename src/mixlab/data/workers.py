"""Threads and worker processes that read images for batches.

Axes:  image          the images of a batch
       selected       those of them that can be read
       slot           places for the images of a batch
       cached         all images of a split
       row, column    pixels of the resized images
       uniform        the uniform random numbers of an image in an epoch
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_uint8
from dataclasses import dataclass
from itertools import cycle
from multiprocessing import Queue, RawArray

import numpy as np
import torch
from jaxtyping import Float64, Int32, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mixlab.data.any_preprocess import AnyPreprocess, Prepared
from mixlab.data.augmentation.augment import UNIFORMS, Augmentation, augment_image, crop_and_resize
from mixlab.data.dataset import Split
from mixlab.data.image_file import UnreadableImage
from mixlab.data.rng import image_uniforms
from mixlab.data.text.preprocess import TextPreprocess
from mixlab.data.text.text import Text
from mixlab.data.worker_signals import ignore_interrupts
from mixlab.errors import UserError
from mixlab.measure.machine import usable_cores

Request = tuple[int, int, np.ndarray]
"""A slot for the images, an epoch, and the indices of the images to read in it."""

PreparedArray = UInt8[np.ndarray, "_ 3 row column"] | Int32[np.ndarray, "_ token feature"]
"""As `Prepared`, in memory of numpy."""

_PREFETCH = 2
"""Requests of a worker that it has not finished or that were not collected, as in torch's default."""


@dataclass(frozen=True, eq=False)
class ReadResult:
    """The images that were read, and the errors of the others."""

    images: PreparedArray
    indices: Int64[np.ndarray, " selected"]
    failed: dict[int, UnreadableImage]


@dataclass(frozen=True, eq=False)
class _Written:
    """The images that a worker has read are the first ones of a slot."""

    slot: int
    indices: Int64[np.ndarray, " selected"]
    failed: dict[int, UnreadableImage]


class ImageReader:
    """Reads the images of a split, augmented one at a time.

    `cached`: the resized images of the whole split, if they are in memory.
    """

    def __init__(
        self,
        split: Split,
        preprocess: AnyPreprocess,
        augmentation: Augmentation,
        seed: int,
        cached: Prepared | None,
    ):
        self._split, self._preprocess, self._augmentation, self._seed = split, preprocess, augmentation, seed
        self._cached = cached
        self.image_shape = preprocess.input_shape
        self.dtype = preprocess.dtype
        self.noun = preprocess.noun

    @property
    def needs_no_work(self) -> bool:
        """Whether all images are in memory and not augmented one at a time."""
        return self._cached is not None and not self._augmentation.changes_each_image

    @property
    def _is_plain(self) -> bool:
        """Whether images are only decoded and resized."""
        return self._augmentation.crop is None and not self._augmentation.changes_each_image

    def read(self, epoch: int, indices: Int64[np.ndarray, " image"], threads: ThreadPoolExecutor) -> ReadResult:
        """Read the images at `indices`.

        Decoders release Python's lock, so each thread reads a share of them. Augmented images have one thread, because
        the operations of PyTorch would start other threads in each of them.
        """
        if self._cached is not None and self.needs_no_work:
            return ReadResult(self._cached.index_select(0, torch.from_numpy(indices)).numpy(), indices, {})
        images = np.empty((len(indices), *self.image_shape), dtype=self.dtype)
        shares = np.array_split(np.arange(len(indices)), min(usable_cores(), len(indices)) if self._is_plain else 1)
        places = [slice(share[0], share[-1] + 1) for share in shares]
        results = list(threads.map(lambda place: self.read_into(images[place], epoch, indices[place]), places))
        read = np.concatenate([of_share for of_share, _ in results])
        failed = {index: error for _, of_share in results for index, error in of_share.items()}
        if failed:
            parts = zip(places, results, strict=True)
            images = np.concatenate([images[place][: len(of_share)] for place, (of_share, _) in parts])
        return ReadResult(images, read, failed)

    def read_into(
        self, images: PreparedArray, epoch: int, indices: Int64[np.ndarray, " image"]
    ) -> tuple[Int64[np.ndarray, " selected"], dict[int, UnreadableImage]]:
        """Read the images at `indices` into the first places of `images`: the indices read, and the errors of others.

        Errors are returned, because torch wraps an exception that is raised in a worker in its traceback.
        """
        uniforms = image_uniforms(self._seed, epoch, indices, UNIFORMS)
        read: list[int] = []
        failed: dict[int, UnreadableImage] = {}
        for index, image_numbers in zip(indices.tolist(), uniforms, strict=True):
            try:
                images[len(read)] = self._prepare(index, image_numbers).numpy()
                read.append(index)
            except UnreadableImage as error:
                failed[index] = error
        return np.array(read, dtype=np.int64), failed

    def _prepare(
        self, index: int, uniforms: Float64[np.ndarray, " uniform"]
    ) -> UInt8[Tensor, "3 row column"] | Int32[Tensor, "token feature"]:
        if isinstance(self._preprocess, TextPreprocess):
            text = self._split.images[index]
            assert isinstance(text, Text)  # the task opens the data, and has models for texts only
            return self._preprocess.encoded(text.content)
        if self._cached is None:
            image = crop_and_resize(self._split.images[index], uniforms, self._augmentation, self._preprocess)
        else:
            image = self._cached[index]
        if not self._augmentation.changes_each_image:
            return image
        return augment_image(image, uniforms, self._augmentation, self._preprocess)


class _Slots:
    """Memory for the images of several batches, which all processes share.

    torch would create shared memory for each batch, and the system clears each page of it.
    """

    def __init__(self, count: int, batch: int, image_shape: tuple[int, ...], dtype: np.dtype):
        self.count, self.batch = count, batch
        self._shape, self._dtype = (count, batch, *image_shape), dtype
        self._memory = RawArray(
            c_uint8, math.prod(self._shape) * dtype.itemsize
        )  # in a file if /dev/shm is too small for it

    def __getitem__(self, slot: int) -> PreparedArray:
        return np.ctypeslib.as_array(self._memory).view(self._dtype).reshape(self._shape)[slot]


class _WorkerReader(Dataset[_Written]):
    """Reads the images of a request in a worker process."""

    def __init__(self, reader: ImageReader, slots: _Slots):
        self._reader, self._slots = reader, slots

    def __getitem__(self, request: Request) -> _Written:
        slot, epoch, indices = request
        return _Written(slot, *self._reader.read_into(self._slots[slot], epoch, indices))


@dataclass(frozen=True, eq=False)
class _Running:
    """Worker processes: torch's loader, the list of requests that its next iteration reads, and their slots."""

    loader: DataLoader[_Written]
    requests: list[Request]
    slots: _Slots


class ImageWorkers:
    """Processes that read images. They are started at the first epoch, and read all later ones."""

    def __init__(self, reader: ImageReader, workers: int):
        # torch warns about more workers than cores, and a recipe may be written for a larger machine.
        self._reader, self._workers = reader, min(workers, usable_cores())
        self._idle: list[_Running] = []

    def read(self, epoch: int, batches: list[np.ndarray]) -> Iterator[ReadResult]:
        """The images of each batch of indices, in order. Several calls can be read at the same time."""
        if self._workers == 0 or self._reader.needs_no_work or not batches:
            with ThreadPoolExecutor(usable_cores()) as threads:
                for indices in batches:
                    yield self._reader.read(epoch, indices, threads)
            return
        try:
            [Queue() for _ in range(self._workers + 1)]  # an iterator that can't make these prints a traceback
            running = self._idle_or_new(max(map(len, batches)))
            slots = cycle(range(running.slots.count))
            running.requests[:] = [(slot, epoch, indices) for slot, indices in zip(slots, batches, strict=False)]
            results = iter(running.loader)
        except OSError as error:
            raise UserError(
                f"The {self._workers} processes that read {self._reader.noun}s could not be started "
                f"({error.strerror}): run again with workers=0, or allow more processes, open files and shared memory "
                "(docker run --shm-size)."
            ) from error
        try:
            for result in results:
                images = running.slots[result.slot][: len(result.indices)]
                yield ReadResult(images.copy(), result.indices, result.failed)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise UserError(
                f"One of the {self._workers} processes that read {self._reader.noun}s was killed, probably because "
                "memory ran out: run again with fewer workers. Training can be resumed from the last checkpoint."
            ) from error
        self._idle.append(running)

    def _idle_or_new(self, batch: int) -> _Running:
        """Workers for batches of at most `batch` images."""
        if self._idle and self._idle[-1].slots.batch >= batch:
            return self._idle.pop()
        # One more than are sent ahead: the next request is sent before the images of a result are copied.
        slots = _Slots(_PREFETCH * self._workers + 1, batch, self._reader.image_shape, self._reader.dtype)
        requests: list[Request] = []
        rng = torch.Generator()  # a separate one, because seeding the workers would advance torch's default one
        loader = DataLoader(
            _WorkerReader(self._reader, slots),
            batch_size=None,
            sampler=requests,
            num_workers=self._workers,
            prefetch_factor=_PREFETCH,
            generator=rng,
            worker_init_fn=ignore_interrupts,
            persistent_workers=True,
        )
        return _Running(loader, requests, slots)

    def images(
        self, epoch: int, batches: list[np.ndarray]
    ) -> Iterator[tuple[Int64[np.ndarray, " selected"], Prepared]]:
        """The images of each batch of indices. Raises UnreadableImage for the first image that can't be read."""
        for result in self.read(epoch, batches):
            for error in result.failed.values():
                raise error
            yield result.indices, torch.from_numpy(result.images)
