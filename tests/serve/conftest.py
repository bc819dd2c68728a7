"""A small model, image files with its predictions, and servers of it on loopback."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("fastapi", reason='needs fastapi: pip install "mixlab[serve]"')

from mixlab.data.preprocess import Preprocess
from mixlab.prediction.predictor import Prediction, Predictor
from mixlab.serve.app import Limits, create_app
from mixlab.serve.server import listen, make_server
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import architecture

CLASSES = ("cat", "dog", "été 🌞")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mixer with random weights for 8x8 pixels and three classes."""
    fields = {"channels": 8, "token_hidden": 8, "channel_hidden": 16, "depth": 1, "patch_size": 4}
    found = architecture("mixer_nano", image_size=8, classes=3, **fields)
    torch.manual_seed(0)
    state = found.build().state_dict()
    state["head.weight"] = torch.randn_like(state["head.weight"])  # a new head is zero
    folder = tmp_path_factory.mktemp("model")
    write_model_folder(folder, Weights(found.family, found.config, state), CLASSES, Preprocess((8, 8)))
    return folder


@pytest.fixture(scope="session")
def predictor(model_folder: Path) -> Predictor:
    return Predictor(model_folder, device="cpu", speed="off")


PredictBatch = Callable[[list[Tensor]], list[Prediction]]


@pytest.fixture
def changed(predictor: Predictor) -> Callable[[PredictBatch], Predictor]:
    """A function that returns the predictor with another `predict_batch`."""

    def change(predict_batch: PredictBatch) -> Predictor:
        copied = copy(predictor)
        copied.predict_batch = predict_batch  # pyright: ignore[reportAttributeAccessIssue]
        return copied

    return change


@pytest.fixture(scope="session")
def contents() -> list[bytes]:
    """The contents of 12 image files with different pixels, as PNG and JPEG."""
    random = np.random.default_rng(0)

    def content(number: int) -> bytes:
        pixels = random.integers(0, 255, (20, 30, 3)) * random.uniform(0, 1, 3)
        file = BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG" if number % 2 else "JPEG")
        return file.getvalue()

    return [content(number) for number in range(12)]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Serving:
    """A server in a thread of its own."""

    def __init__(self, predictor: Predictor, limits: Limits, token: str | None = None):
        listener = listen("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.server = make_server(create_app(predictor, limits, token), drain_seconds=limits.seconds)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def predict(self, body: bytes, path: str = "/predict", **headers: str) -> Reply:
        return self.ask("POST", path, body, headers)

    def predict_files(self, files: dict[str, bytes]) -> Reply:
        return self.ask("POST", "/predict", form(files), {"Content-Type": "multipart/form-data; boundary=edge"})

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()


def form(files: dict[str, bytes]) -> bytes:
    """A body of multipart/form-data with the boundary "edge"."""
    head = '--edge\r\nContent-Disposition: form-data; name="files"; filename="{}"\r\n\r\n'
    parts = [head.format(name).encode() + content + b"\r\n" for name, content in files.items()]
    return b"".join([*parts, b"--edge--\r\n"])


Start = Callable[..., Serving]


@pytest.fixture
def start(predictor: Predictor) -> Iterator[Start]:
    """Starts servers with `limits`, `token` or another `predictor`, and stops them at the end."""
    started: list[Serving] = []

    def start(limits: Limits | None = None, token: str | None = None, predictor: Predictor = predictor) -> Serving:
        started.append(Serving(predictor, limits or Limits(), token))
        return started[-1]

    yield start
    for serving in started:
        serving.stop()


@pytest.fixture(scope="session")
def serving(predictor: Predictor) -> Iterator[Serving]:
    """A server with the default limits and without a token."""
    serving = Serving(predictor, Limits())
    yield serving
    serving.stop()
