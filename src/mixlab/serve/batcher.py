"""Predicts the images of many requests in common batches.

    batcher = Batcher(predictor, max_waiting=64, max_pixels=2**26, observe_batch=print)
    predictions = await batcher.predict([content])
    batcher.close()

An image is decoded in one of several threads and then waits for the model, which has a thread of its own. When it is
free, it takes all decoded images, at most MAX_BATCH. No batch waits for more images: a request that is alone is
answered at once, and under load the batches grow by themselves.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from torch import Tensor

from mixlab.data.image_file import UnreadableImage
from mixlab.measure.machine import usable_cores
from mixlab.prediction.predictor import Prediction, Predictor

MAX_BATCH = 32

Answer = Prediction | UnreadableImage


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
        self._waiting, self._lock = 0, Lock()
        self._decoded: deque[tuple[Tensor, Future[Answer]]] = deque()
        self._decoders = ThreadPoolExecutor(usable_cores(), "decode")
        self._model = ThreadPoolExecutor(1, "model")

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
            self._decoders.submit(self._decode, content, answer)
        return await asyncio.gather(*map(asyncio.wrap_future, answers))

    def close(self) -> None:
        """End the threads, after the images that are waiting."""
        self._decoders.shutdown()
        self._model.shutdown()

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
            self._model.submit(self._predict_decoded)

    def _predict_decoded(self) -> None:
        """Predict the decoded images. It is called once per image, so that an earlier call may have left none."""
        batch = [self._decoded.popleft() for _ in range(min(len(self._decoded), MAX_BATCH))]
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

    def _leave(self, count: int) -> None:
        with self._lock:
            self._waiting -= count
