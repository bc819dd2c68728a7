"""Predicts the images of many requests in common batches.

    batcher = Batcher(predictor, max_waiting=64, max_pixels=2**26, observe_batch=print)
    predictions = await batcher.predict([content])
    batcher.close()

One thread runs the model, and as many as there are cores decode. When the model is free, it takes all decoded images,
up to the limit of a batch. No batch waits for more images: a request that is alone is answered at once.

On a CPU, decoding and the model share the cores. There, images are decoded between two batches rather than during one,
because a model whose threads wait for a core that decodes is slow. A batch has a few images per core: fewer would cost
more time per image, and more would make the next ones wait. On another device, images are decoded while the model runs.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import TypeVar

import torch
from torch import Tensor

from mixlab.data.image_file import UnreadableImage
from mixlab.measure.machine import usable_cores
from mixlab.prediction.predictor import Prediction, Predictor

MAX_BATCH = 32
"""Images of a batch, at most, if the model does not run on the CPU."""

IMAGES_PER_CORE = 3
"""Images of a batch on the CPU, at most, for each core. The throughput with other numbers is in docs/log.md."""

_PATIENCE = 0.05
"""Seconds. An image that takes longer to decode is left to a later batch, and decoded while the model runs."""

Answer = Prediction | UnreadableImage

_Item = TypeVar("_Item")


class QueueFull(Exception):  # noqa: N818  the state of the server, not an error
    """Raised when the images would exceed the limit of images that wait."""


class Batcher:
    """Predicts images with a bounded queue.

    max_waiting    images that are decoded, predicted, or wait for it, at most
    max_pixels     larger images are unreadable
    observe_batch  called with the number of images of each batch
    """

    def __init__(
        self, predictor: Predictor, *, max_waiting: int, max_pixels: int, observe_batch: Callable[[int], object]
    ):
        self._predictor, self._max_waiting, self._max_pixels = predictor, max_waiting, max_pixels
        self._observe_batch = observe_batch
        self._shares_cores = predictor.device.type == "cpu"
        self._max_batch = IMAGES_PER_CORE * usable_cores() if self._shares_cores else MAX_BATCH
        self._waiting, self._lock = 0, Lock()
        self._received: deque[tuple[bytes, Future[Answer]]] = deque()
        self._decoded: deque[tuple[Tensor, Future[Answer]]] = deque()
        self._decoders = _threads(usable_cores(), "decode", torch_threads=1)
        self._model = _threads(1, "model", predictor.torch_threads)

    @property
    def waiting(self) -> int:
        """Images that are decoded, predicted, or wait for it."""
        return self._waiting

    async def predict(self, contents: Sequence[bytes]) -> list[Answer]:
        """The prediction for each image file, or the error if it can't be read. Raises QueueFull."""
        with self._lock:
            if self._waiting + len(contents) > self._max_waiting:
                raise QueueFull
            self._waiting += len(contents)
        answers = [Future[Answer]() for _ in contents]
        for content, answer in zip(contents, answers, strict=True):
            if self._shares_cores:
                self._received.append((content, answer))
                self._model.submit(self._predict_some)
            else:
                self._decoders.submit(self._decode, content, answer)
        return await asyncio.gather(*map(asyncio.wrap_future, answers))

    def close(self) -> None:
        """End the threads, after the images that are waiting."""
        self._model.submit(self._decoders.shutdown).result()
        self._model.shutdown()

    def _predict_some(self) -> None:
        """Predict a batch. It is called once or twice per image, so that an earlier call may have left none."""
        self._decode_received()
        batch = _take(self._decoded, self._max_batch)
        if not batch:
            return
        self._observe_batch(len(batch))
        images, answers = zip(*batch, strict=True)
        try:
            predictions = self._predictor.predict_batch(list(images))
        except Exception as error:
            self._leave(len(batch))
            for answer in answers:
                answer.set_exception(error)
        else:
            self._leave(len(batch))
            for answer, prediction in zip(answers, predictions, strict=True):
                answer.set_result(prediction)

    def _decode_received(self) -> None:
        """Decode the images of the next batch, each in a thread of its own."""
        received = _take(self._received, self._max_batch)
        wait([self._decoders.submit(self._decode, *each) for each in received], _PATIENCE)

    def _decode(self, content: bytes, answer: Future[Answer]) -> None:
        if not answer.set_running_or_notify_cancel():  # the request ran out of time
            self._leave(1)
            return
        try:
            image = self._predictor.read(content, self._max_pixels)
        except UnreadableImage as error:
            self._leave(1)
            answer.set_result(error)
        except Exception as error:
            self._leave(1)
            answer.set_exception(error)
        else:
            self._decoded.append((image, answer))
            self._model.submit(self._predict_some)

    def _leave(self, count: int) -> None:
        with self._lock:
            self._waiting -= count


def _threads(number: int, name: str, torch_threads: int) -> ThreadPoolExecutor:
    """Threads, each of which computes with so many threads of PyTorch."""
    return ThreadPoolExecutor(number, name, initializer=_set_torch_threads, initargs=(torch_threads,))


def _set_torch_threads(number: int) -> None:
    torch.set_num_threads(number)
    # The first use in a thread takes over the number that any thread has set last. Others have not set theirs yet.
    torch.get_num_threads()


def _take(queue: deque[_Item], limit: int) -> list[_Item]:
    return [queue.popleft() for _ in range(min(len(queue), limit))]
