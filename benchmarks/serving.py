"""Throughput, latency and memory of `mixlab serve`, beside `mixlab predict` and a plain server of a timm model.

    python benchmarks/serving.py speed mixer_s32 --out benchmarks/results/mine.json
    python benchmarks/serving.py memory mixer_nano --requests 20000 --out benchmarks/results/mine.json

`speed`: a model with random weights and `--images` JPEG files of 500x375 pixels, parts of two photographs. In turns,
for `--rounds` rounds of `--seconds` seconds each: the predictor of `mixlab predict` under its plan, `mixlab serve`, and
`plain_server.py`, which is FastAPI with timm's model, eager in fp32. Each server answers `--clients` connections that
send one file per request as soon as they have an answer. The clients run on the same cores: the throughput of a server
is images / (seconds - CPU seconds of the clients / cores). Then, in the same round, the latencies of `mixlab serve`:
one request alone, and requests at half of the throughput of the round, at equal intervals and at random times (a
Poisson process), for two and three times as long. A latency is counted from the time at which the request was due, and
divided by the median alone of its round, because the speed of a shared machine varies. The 99th percentile is that of
all rounds together.

`memory`: the resident memory of the server before and after each twentieth of the requests, with smaller images.

The results are numbers of this machine. All samples are written.
"""

import argparse
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from io import BytesIO
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from mixlab.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.models.contract import height_and_width
from mixlab.prediction.predictor import Prediction, Predictor
from mixlab.serve.server import select_plan
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.weights.timm_folder import TIMM_NAMES
from mixlab.zoo.architecture import architecture

CPU = torch.device("cpu")
ALONE, AT_RANDOM = "alone", "at random times"
ARRIVALS = ("at equal intervals", AT_RANDOM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("speed", "memory"))
    parser.add_argument("model", help="a size; the plain server takes part if timm has it")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one server in one round")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=20_000, help="for `memory`")
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        model = write_random_model(arguments.model, Path(folder) / "model")
        size = (375, 500) if arguments.task == "speed" else (72, 96)
        files = write_photographs(Path(folder) / "images", arguments.images, *size)
        if arguments.task == "speed":
            result = speed(arguments.model, model, files, arguments.rounds, arguments.seconds, arguments.clients)
        else:
            result = memory(model, files, arguments.requests, arguments.clients)
    for claim in result["claims"]:
        print(f"{claim['claim']}: {claim['value']:.3g} ({claim})")
    context = {"date": date.today().isoformat(), "machine": machine.describe(CPU), "model": arguments.model}
    if arguments.out:
        write_json(arguments.out, context | {"task": arguments.task, "clients": arguments.clients} | result)


def write_random_model(name: str, folder: Path) -> Path:
    """A folder with a model with random weights whose head is not zero."""
    torch.manual_seed(0)
    found = architecture(name)
    model = found.build()
    nn.init.normal_(model.get_parameter("head.weight"), std=0.02)
    preprocess = Preprocess(
        height_and_width(found.image_size), "shorter_side", 0.875, mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
    folder.mkdir()
    classes = tuple(f"class {index}" for index in range(model.config.classes))
    write_model_folder(folder, Weights(found.family, found.config, model.state_dict()), classes, preprocess)
    return folder


def write_photographs(folder: Path, number: int, rows: int, columns: int) -> list[Path]:
    """JPEG files, different parts of two photographs."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    files = [folder / f"{index}.jpg" for index in range(number)]
    for file, photograph in zip(files, load_sample_images().images * (number // 2 + 1), strict=False):
        top, left = rng.integers(0, photograph.shape[0] - rows), rng.integers(0, photograph.shape[1] - columns)
        Image.fromarray(photograph[top : top + rows, left : left + columns]).save(file, quality=90)
    return files


def speed(name: str, model: Path, files: Sequence[Path], rounds: int, seconds: float, clients: int) -> dict[str, Any]:
    requests = [form_request(file) for file in files]
    with ExitStack() as stack:
        ports = {"mixlab serve": stack.enter_context(server([sys.executable, "-m", "mixlab", "serve", str(model)]))}
        if name in TIMM_NAMES:
            script = str(Path(__file__).with_name("plain_server.py"))
            ports["plain server"] = stack.enter_context(server([sys.executable, script, TIMM_NAMES[name]]))
        predictor = Predictor(model, device="cpu")
        select_plan(predictor)
        expected = [each.label for each in predictor.predict(files) if isinstance(each, Prediction)]
        rates: dict[str, list[float]] = {"mixlab predict": [], **{each: [] for each in ports}}
        uncorrected: dict[str, list[float]] = {each: [] for each in ports}
        latencies: dict[str, list[list[float]]] = {each: [] for each in (ALONE, *ARRIVALS)}
        changed = answers = 0
        for number in range(rounds):
            rates["mixlab predict"].append(prediction_rate(predictor, files, seconds))
            for each, port in ports.items():
                load = ClosedLoad(port, requests, clients, seconds=seconds)
                rates[each].append(load.answers / (load.seconds - load.cpu_seconds / machine.usable_cores()))
                uncorrected[each].append(load.answers / load.seconds)
                if each == "mixlab serve":
                    answers += load.answers
                    changed += sum(label != expected[index] for index, label in load.labels)
            latencies[ALONE].append(ClosedLoad(ports["mixlab serve"], requests, 1, seconds=seconds).latencies)
            half = uncorrected["mixlab serve"][-1] / 2
            for arrivals, times in zip(ARRIVALS, (2, 3), strict=True):
                due = due_times(half, times * seconds, arrivals, seed=number)
                latencies[arrivals].append(open_latencies(ports["mixlab serve"], requests, due))
    multiples = {
        arrivals: [
            latency / median(alone)
            for alone, samples in zip(latencies[ALONE], latencies[arrivals], strict=True)
            for latency in samples
        ]
        for arrivals in ARRIVALS
    }
    ratios = {
        each: [ours / theirs for ours, theirs in zip(rates["mixlab serve"], rates[each], strict=True)]
        for each in rates
        if each != "mixlab serve"
    }
    claims: list[dict[str, Any]] = [
        {
            "claim": f"{name}, images/s of mixlab serve / mixlab predict",
            "value": median(ratios["mixlab predict"]),
            "goal": 0.9,
        },
        *(
            {
                "claim": f"{name}, mixlab serve, half load {arrivals}: 99th percentile of the latency / median alone",
                "value": float(np.quantile(multiples[arrivals], 0.99)),
                "at_most": 3.0,
            }
            for arrivals in ARRIVALS
        ),
    ]
    if "plain server" in ratios:
        claims.append(
            {
                "claim": f"{name}, images/s of mixlab serve / FastAPI with timm",
                "value": median(ratios["plain server"]),
                "goal": 1.0,
            }
        )
    return {
        "claims": claims,
        "images_per_second": rates,
        "images_per_second_with_the_clients": uncorrected,
        "milliseconds": {
            kind: [[1000 * each for each in samples] for samples in by_round] for kind, by_round in latencies.items()
        },
        "answers": answers,
        "answers_with_another_label_than_predict": changed,
    }


def memory(model: Path, files: Sequence[Path], requests: int, clients: int) -> dict[str, Any]:
    bodies = [form_request(file) for file in files]
    command = [sys.executable, "-m", "mixlab", "serve", str(model)]
    parts = 20
    with server(command) as port:
        (process,) = (each for each in psutil.Process().children() if "serve" in each.cmdline())
        resident = [process.memory_info().rss]
        for _ in range(parts):
            ClosedLoad(port, bodies, clients, requests=requests // parts)
            resident.append(process.memory_info().rss)
    value = resident[-1] / resident[2]
    claim = f"resident memory of mixlab serve after {requests:,} requests / after {2 * requests // parts:,}"
    return {"claims": [{"claim": claim, "value": value, "at_most": 1.05}], "resident_bytes": resident}


@contextmanager
def server(command: list[str]) -> Iterator[int]:
    """The port of a server that is started on a free one. It prints its address as its first line."""
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(60)


def form_request(file: Path) -> bytes:
    """A request with one file, as a browser sends it."""
    body = BytesIO()
    body.write(b'--edge\r\nContent-Disposition: form-data; name="file"; filename="image.jpg"\r\n')
    body.write(b"Content-Type: image/jpeg\r\n\r\n" + file.read_bytes() + b"\r\n--edge--\r\n")
    head = (
        "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
        f"Content-Length: {body.tell()}\r\n\r\n"
    )
    return head.encode() + body.getvalue()


class Connection:
    """A connection that is reused for all requests of a client."""

    def __init__(self, port: int):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> str:
        """The most probable label. Raises RuntimeError for another answer than one with status 200."""
        self._socket.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, flags=re.IGNORECASE)
        assert length is not None
        while len(body) < int(length[1]):
            body += self._receive()
        label = re.search(rb'"label": ?"([^"]+)"', body)
        if not head.startswith(b"HTTP/1.1 200 ") or label is None:
            raise RuntimeError((head + body).decode(errors="replace"))
        return label[1].decode()

    def _receive(self) -> bytes:
        part = self._socket.recv(65_536)
        if not part:
            raise RuntimeError("the server closed the connection")
        return part

    def close(self) -> None:
        self._socket.close()


class ClosedLoad:
    """The answers for clients that send a request when the last one is answered, for a time or a number of requests.

    seconds, cpu_seconds  of all clients together
    labels                the index of the request and the label, for each answer
    """

    def __init__(
        self, port: int, bodies: Sequence[bytes], clients: int, *, seconds: float = 3600.0, requests: int = 10**9
    ):
        self.labels: list[tuple[int, str]] = []
        self.latencies: list[float] = []
        self._numbers, self._errors = count(), list[Exception]()
        threads = [threading.Thread(target=self._run, args=(port, bodies, seconds, requests)) for _ in range(clients)]
        start, cpu_start = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds, self.cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        self.answers = len(self.latencies)
        if self._errors:
            raise self._errors[0]

    def _run(self, port: int, bodies: Sequence[bytes], seconds: float, requests: int) -> None:
        connection = Connection(port)
        end = time.perf_counter() + seconds
        try:
            while (number := next(self._numbers)) < requests and (start := time.perf_counter()) < end:
                label = connection.ask(bodies[number % len(bodies)])
                self.latencies.append(time.perf_counter() - start)
                self.labels.append((number % len(bodies), label))
        except Exception as error:
            self._errors.append(error)
        finally:
            connection.close()


def due_times(rate: float, seconds: float, arrivals: str, seed: int) -> list[float]:
    """The times of requests, `rate` per second, in seconds from the first one."""
    rng = random.Random(seed)
    due = [0.0]
    while due[-1] < seconds:
        due.append(due[-1] + (rng.expovariate(rate) if arrivals == AT_RANDOM else 1 / rate))
    return due


def open_latencies(port: int, bodies: Sequence[bytes], due: Sequence[float]) -> list[float]:
    """The seconds from the time at which each request is due to its answer."""
    latencies: list[float] = []
    errors: list[Exception] = []
    numbers = count()
    start = time.perf_counter() + 0.1

    def client() -> None:
        connection = Connection(port)
        try:
            while (number := next(numbers)) < len(due):
                time.sleep(max(0.0, start + due[number] - time.perf_counter()))
                connection.ask(bodies[number % len(bodies)])
                latencies.append(time.perf_counter() - start - due[number])
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=client) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return latencies


def prediction_rate(predictor: Predictor, files: Sequence[Path], seconds: float) -> float:
    """Images per second from the files to the predictions."""
    start = time.perf_counter()
    predicted = 0
    while time.perf_counter() < start + seconds:
        predicted += len(list(predictor.predict(files)))
    return predicted / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
