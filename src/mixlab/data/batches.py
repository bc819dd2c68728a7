"""Pictures to batches: for training, in a derived order with derived augmentation; for judging, in their own order.

    batches = TrainingBatches(part, preprocess, augmentation, batch=64, seed=0)
    for batch in batches.epoch(epoch, start=0):  # len(batches) steps; `start` of them were done before an interruption
        images, labels = batch.on(device)        # float32 (picture, 3, row, column), normalised and augmented; int64

A batch travels as uint8, four times smaller than float, and is normalised and augmented on the device.
Workers only read: their number changes no bit of a batch.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mixlab.data.augment import DRAWS, Augmentation, RandomResizedCrop, augmented, crop_box
from mixlab.data.dataset import Part
from mixlab.data.draws import epoch_order, picture_draws
from mixlab.data.image_file import UnreadablePicture
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError

KEPT_BYTES = 2**30
"""A part whose resized pictures take no more than this is read once and kept in memory."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Resized pictures on the CPU, and what finishes them on the device; `indices` count in the part."""

    images: UInt8[Tensor, "picture 3 row column"]
    labels: Int64[Tensor, " picture"]
    indices: Int64[np.ndarray, " picture"]
    draws: Float64[np.ndarray, "picture draw"]
    preprocess: Preprocess
    augmentation: Augmentation

    def on(self, device: torch.device | str) -> tuple[Float[Tensor, "picture 3 row column"], Int64[Tensor, " picture"]]:
        images = self.preprocess.normalised(self.images.to(device))
        return augmented(images, self.draws, self.augmentation), self.labels.to(device)


class TrainingBatches:
    """Every picture once an epoch, in an order that (seed, epoch) decides.

    The last batch takes what is left; a single picture that would be left alone sits this epoch out, because batch
    normalisation knows no deviation of one (the next epoch's order leaves out another).

    `max_unreadable` pictures may be unreadable: they are found before the first step, so that every epoch has the same
    steps, named in `unreadable` (name -> reason), and skipped. With 0, the first one met is the error.
    """

    def __init__(
        self,
        part: Part,
        preprocess: Preprocess,
        augmentation: Augmentation,
        *,
        batch: int,
        seed: int,
        workers: int = 0,
        max_unreadable: int = 0,
    ):
        self._part, self._preprocess, self._augmentation = part, preprocess, augmentation
        self._batch, self._seed = batch, seed
        self._kept: UInt8[Tensor, "picture 3 row column"] | None = None
        self.unreadable: dict[str, str] = {}
        self._readable = np.arange(len(part))
        height, width = preprocess.image_size
        keep = augmentation.random_resized_crop is None and len(part) * 3 * height * width <= KEPT_BYTES
        if keep or max_unreadable:
            kept = torch.empty((len(part), 3, height, width) if keep else (0,), dtype=torch.uint8)
            failed: dict[int, UnreadablePicture] = {}
            reader = _Reader(part, preprocess, None, seed)
            for read in _read(reader, [(0, chunk) for chunk in _chunks(self._readable, 256)], workers):
                failed |= read.failed
                if len(failed) > max_unreadable:
                    raise _too_many(list(failed.values()), max_unreadable)
                if keep:
                    kept[torch.from_numpy(read.indices)] = read.images
            self.unreadable = {part.names[index]: error.reason for index, error in failed.items()}
            self._readable = np.setdiff1d(self._readable, list(failed))
            self._kept = kept if keep else None
        self._workers = workers

    def __len__(self) -> int:
        """Steps in an epoch."""
        full, rest = divmod(len(self._readable), self._batch)
        return max(full + (rest > 1), 1)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches from step `start` on."""
        order = self._readable[epoch_order(self._seed, epoch, len(self._readable))]
        requests = [(epoch, chunk) for chunk in _chunks(order, self._batch)[start : len(self)]]
        if self._kept is not None:
            for _, indices in requests:
                yield self._finished(epoch, indices, self._kept[torch.from_numpy(indices)])
            return
        reader = _Reader(self._part, self._preprocess, self._augmentation.random_resized_crop, self._seed)
        for read in _read(reader, requests, self._workers):
            for error in read.failed.values():
                raise error
            yield self._finished(epoch, read.indices, read.images)

    def _finished(
        self, epoch: int, indices: Int64[np.ndarray, " picture"], images: UInt8[Tensor, "picture 3 row column"]
    ) -> Batch:
        return Batch(
            images=images,
            labels=torch.from_numpy(self._part.labels[indices]),
            indices=indices,
            draws=picture_draws(self._seed, epoch, indices, DRAWS),
            preprocess=self._preprocess,
            augmentation=self._augmentation,
        )


class JudgingBatches:
    """Every picture once, in the part's order, as it is; the first unreadable one is the error."""

    def __init__(self, part: Part, preprocess: Preprocess, *, batch: int, workers: int = 0):
        self._part, self._preprocess, self._batch, self._workers = part, preprocess, batch, workers

    def __len__(self) -> int:
        return -(-len(self._part) // self._batch)

    def __iter__(self) -> Iterator[Batch]:
        reader = _Reader(self._part, self._preprocess, None, 0)
        requests = [(0, chunk) for chunk in _chunks(np.arange(len(self._part)), self._batch)]
        for read in _read(reader, requests, self._workers):
            for error in read.failed.values():
                raise error
            yield Batch(
                images=read.images,
                labels=torch.from_numpy(self._part.labels[read.indices]),
                indices=read.indices,
                draws=np.empty((len(read.indices), 0)),
                preprocess=self._preprocess,
                augmentation=Augmentation(),
            )


_Request = tuple[int, np.ndarray]
"""An epoch, and the indices of the pictures to read."""


@dataclass(frozen=True, eq=False)
class _Read:
    images: UInt8[Tensor, "picture 3 row column"]
    indices: Int64[np.ndarray, " picture"]
    failed: dict[int, UnreadablePicture]


class _Reader(TorchDataset[_Read]):
    """What a worker does. Errors are returned: torch would wrap one that is raised in a traceback."""

    def __init__(self, part: Part, preprocess: Preprocess, crop: RandomResizedCrop | None, seed: int):
        self.part, self.preprocess, self.crop, self.seed = part, preprocess, crop, seed

    def __getitem__(self, request: _Request) -> _Read:
        epoch, indices = request
        images, read, failed = [], [], {}
        draws = picture_draws(self.seed, epoch, indices, DRAWS)
        for index, picture_draw in zip(indices, draws, strict=True):
            try:
                image = self.part.image(index)
            except UnreadablePicture as error:
                failed[int(index)] = error
                continue
            read.append(index)
            if self.crop is None:
                images.append(self.preprocess.resized(image))
            else:
                box = crop_box(self.crop, image.shape[0], image.shape[1], picture_draw)
                images.append(self.preprocess.stretched(image, box))
        empty = torch.empty((0, 3, *self.preprocess.image_size), dtype=torch.uint8)
        return _Read(torch.stack(images) if images else empty, np.array(read, dtype=np.int64), failed)


def _read(reader: _Reader, requests: list[_Request], workers: int) -> Iterable[_Read]:
    if workers == 0:
        return map(reader.__getitem__, requests)
    return DataLoader(reader, sampler=requests, batch_size=None, num_workers=workers)


def _chunks(indices: Int64[np.ndarray, " picture"], size: int) -> list[np.ndarray]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _too_many(errors: list[UnreadablePicture], max_unreadable: int) -> UserError:
    if max_unreadable == 0:
        return errors[0]
    return UserError(
        f"More than max_unreadable={max_unreadable} pictures can't be read, the last one is "
        f"{errors[-1].picture} ({errors[-1].reason}): mend or remove them, or raise max_unreadable."
    )
