"""The queue: common batches, its bound, and requests that end early."""

import asyncio
import threading
import time

import pytest
import torch

from mixlab.data.image_file import UnreadableImage
from mixlab.serve import batcher as batcher_module
from mixlab.serve.batcher import IMAGES_PER_CORE, MAX_BATCH, Batcher, QueueFull

CORES = 3


class Numbers:
    """A predictor of numbers as text, which can be held back; `batches` lists the sizes of its batches."""

    torch_threads = 2

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.batches: list[int] = []
        self.reading, self.predicting = threading.Event(), threading.Event()
        self.reading.set()
        self.predicting.set()

    def read(self, content: bytes, max_pixels: int) -> int:
        if content == b"slow":
            assert self.reading.wait(30)
            return 10
        if not content:
            raise UnreadableImage("", "it is empty")
        return int(content)

    def predict_batch(self, images: list[int]) -> list[float]:
        self.batches.append(len(images))
        assert self.predicting.wait(30)
        return [1 / image for image in images]


@pytest.fixture(params=["cpu", "cuda"])
def numbers(request):
    return Numbers(request.param)


@pytest.fixture
def batcher(numbers, monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(batcher_module, "usable_cores", lambda: CORES)
    batcher = Batcher(numbers, max_waiting=100, max_pixels=1, observe_batch=lambda _: None)
    yield batcher
    numbers.reading.set()
    numbers.predicting.set()
    batcher.close()
    torch.set_num_threads(threads)


async def until(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def test_one_image_is_predicted_at_once(batcher, numbers):
    assert asyncio.run(batcher.predict([b"4"])) == [0.25]
    assert numbers.batches == [1]


def test_images_that_arrive_while_the_model_runs_become_batches_up_to_the_limit(batcher, numbers):
    limit = IMAGES_PER_CORE * CORES if numbers.device.type == "cpu" else MAX_BATCH

    async def requests():
        numbers.predicting.clear()
        first = asyncio.create_task(batcher.predict([b"1"]))
        await until(lambda: numbers.batches)
        others = [asyncio.create_task(batcher.predict([str(number).encode()])) for number in range(2, 2 + limit + 1)]
        await until(lambda: len(batcher._received) + len(batcher._decoded) == limit + 1)
        numbers.predicting.set()
        return [value for [value] in await asyncio.gather(first, *others)]

    assert asyncio.run(requests()) == [1 / number for number in range(1, 2 + limit + 1)]
    assert numbers.batches == [1, limit, 1]


def test_images_wait_undecoded_for_a_model_on_the_same_cores_only(batcher, numbers):
    async def requests():
        numbers.predicting.clear()
        first = asyncio.create_task(batcher.predict([b"1"]))
        await until(lambda: numbers.batches)
        second = asyncio.create_task(batcher.predict([b"2"]))
        await until(lambda: batcher._received or batcher._decoded)
        found = len(batcher._received), len(batcher._decoded)
        numbers.predicting.set()
        await asyncio.gather(first, second)
        return found

    assert asyncio.run(requests()) == ((1, 0) if numbers.device.type == "cpu" else (0, 1))


def test_an_image_that_takes_long_to_decode_delays_no_other_request(batcher, numbers):
    async def requests():
        numbers.reading.clear()
        slow = asyncio.create_task(batcher.predict([b"slow"]))
        found = [await batcher.predict([b"4"]) for _ in range(3)]
        assert not slow.done()
        numbers.reading.set()
        return [*found, await slow]

    assert asyncio.run(requests()) == [[0.25], [0.25], [0.25], [0.1]]


def test_decoders_use_one_thread_of_pytorch_each_and_the_model_as_many_as_the_predictor_says(batcher):
    assert batcher._decoders.submit(torch.get_num_threads).result() == 1
    assert batcher._model.submit(torch.get_num_threads).result() == 2


def test_the_model_keeps_its_threads_if_decoders_start_before_its_first_computation(batcher):
    batcher._model.submit(lambda: batcher._decoders.submit(int).result()).result()
    assert batcher._model.submit(torch.get_num_threads).result() == 2


def test_answers_are_in_the_order_of_the_images_with_errors_in_their_places(batcher):
    first, error, last = asyncio.run(batcher.predict([b"2", b"", b"8"]))
    assert (first, last) == (0.5, 0.125)
    assert isinstance(error, UnreadableImage)


def test_an_image_that_the_model_fails_on_fails_its_request_only(batcher):
    with pytest.raises(ZeroDivisionError):
        asyncio.run(batcher.predict([b"0"]))
    with pytest.raises(ValueError, match="invalid literal"):  # an error of a decoder that is not about the image
        asyncio.run(batcher.predict([b"text"]))
    assert asyncio.run(batcher.predict([b"4"])) == [0.25]
    assert batcher.waiting == 0


def test_images_beyond_the_bound_are_refused_together(batcher):
    with pytest.raises(QueueFull):
        asyncio.run(batcher.predict([b"1"] * 101))
    assert asyncio.run(batcher.predict([b"1"] * 100)) == [1.0] * 100
    assert batcher.waiting == 0


def test_images_of_a_request_that_has_ended_are_not_decoded_but_take_their_places_until_a_thread_skips_them(
    batcher, numbers, monkeypatch
):
    monkeypatch.setattr(batcher_module, "_PATIENCE", 30)  # otherwise the thread may skip images before the next request

    async def late():
        numbers.reading.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await batcher.predict([b"slow"] * 100)
        with pytest.raises(QueueFull):
            await batcher.predict([b"2"])
        numbers.reading.set()
        await until(lambda: batcher.waiting == 0)
        return await batcher.predict([b"2"])

    assert asyncio.run(late()) == [0.5]
    assert sum(numbers.batches) <= IMAGES_PER_CORE * CORES + 1  # those that a thread had taken, and the last one
