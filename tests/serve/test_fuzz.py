"""Mutated requests: each one is answered or its connection is closed, without an error of the server or a hang.

The mutations of request number i depend on i only.
"""

import asyncio
import logging
import random
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mixlab.serve import server
from mixlab.serve.app import Limits

CLIENTS = 32
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")

HEADERS = (
    b"Content-Type: multipart/form-data; boundary=edge; charset=utf-7",
    b"Content-Type: multipart/form-data; boundary=",
    b"Content-Type: multipart/form-data; boundary=\xff\xfe",
    b"Content-Length: 99999999999999999999999999",
    b"Content-Length: -1",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Content-Encoding: gzip",
    b"Expect: 100-continue",
    b"Upgrade: websocket\r\nConnection: upgrade",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings",
    b"Authorization: Bearer \xff\x01",
    b"Range: bytes=0-1",
    b"Host: evil\r\nHost: other",
    b"X: " + b"x" * 20_000,
)


def request_body(rng: random.Random, files: list[bytes]) -> tuple[bytes, bytes]:
    """A content type and a body: the bytes of an image, or a form with at most three files."""
    if rng.random() < 0.4:
        return b"application/octet-stream", mutated(rng, rng.choice(files), 0.7)
    parts = [
        b'--edge\r\nContent-Disposition: form-data; name="files"; filename="'
        + bytes(rng.choices(range(32, 256), k=3))
        + b'"\r\n'
        + rng.choice([b"", b"Content-Type: image/png\r\n", b"Content-Transfer-Encoding: base64\r\n"])
        + b"\r\n"
        + mutated(rng, rng.choice(files), 0.5)
        + b"\r\n"
        for _ in range(rng.randint(0, 3))
    ]
    return b"multipart/form-data; boundary=edge", mutated(rng, b"".join([*parts, b"--edge--\r\n"]), 0.4)


def request(number: int, files: list[bytes]) -> bytes:
    rng = random.Random(number)
    content_type, body = request_body(rng, files)
    lines = [
        rng.choice([b"POST /predict", b"POST /predict?top=2", b"POST /predict?top=\x00%ff", b"GET /metrics", b"PUT /"])
        + b" HTTP/1.1",
        b"Host: 127.0.0.1",
        b"Connection: close",
        b"Content-Type: " + content_type,
        b"Content-Length: %d" % len(body),
    ]
    if rng.random() < 0.4:
        lines.insert(rng.randint(1, len(lines)), rng.choice(HEADERS))
    if rng.random() < 0.2:
        del lines[rng.randrange(len(lines))]
    head = mutated(rng, b"\r\n".join([*lines, b"\r\n"]), 0.3)
    return head + body


def mutated(rng: random.Random, content: bytes, probability: float) -> bytes:
    """Usually some bytes changed, removed, doubled, or replaced by others; with 1 - `probability` unchanged."""
    if rng.random() >= probability:
        return content
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(changed) + 1)
        end = min(len(changed), start + rng.choice([1, 1, 2, 8, 200]))
        match rng.randrange(5):
            case 0:
                changed[start:end] = rng.randbytes(end - start)
            case 1:
                del changed[start:end]
            case 2:
                changed[start:start] = changed[start:end]
            case 3:
                del changed[start:]
            case 4:
                changed[start:end] = rng.choice([b"\r\n", b"\0", b"--edge", b"\xff\xff\xff\xff", b'"', b"{}"])
    return bytes(changed)


async def answers(port: int, requests: list[bytes]) -> list[bytes]:
    """What the server sends for each request until it closes the connection. Raises TimeoutError if it does not."""
    limit = asyncio.Semaphore(CLIENTS)

    async def answer(content: bytes) -> bytes:
        async with limit, asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            received = bytearray()
            try:
                writer.write(content)
                while part := await reader.read(65_536):
                    received += part
            except ConnectionError:  # closed before the request was read
                pass
            finally:
                writer.close()
            return bytes(received)

    return await asyncio.gather(*map(answer, requests))


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """The contents of small images in several formats."""
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    contents = []
    for name in FORMATS:
        file = BytesIO()
        Image.fromarray(pixels).save(file, name)
        contents.append(file.getvalue())
    return contents


@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_mutated_requests_are_answered_without_an_error_of_the_server(start, files, number, monkeypatch, caplog):
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.3)
    fuzzed = start(Limits(bytes=100_000, pixels=10**7, seconds=2))
    fuzzed.server.config.timeout_keep_alive = 1  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)  # to caplog
    expected = fuzzed.predict(files[0]).json
    with caplog.at_level(logging.ERROR):
        received = asyncio.run(answers(fuzzed.port, [request(each, files) for each in range(number)]))
    statuses = [re.findall(rb"^HTTP/1.1 (\d+) ", content, flags=re.MULTILINE) for content in received]
    counts = {status: sum(status in found for found in statuses) for status in {each for s in statuses for each in s}}
    print(counts)
    assert not {status for status in counts if status >= b"500" and status != b"503"}, counts
    assert {b"200", b"400", b"405", b"422"} <= set(counts), counts
    assert not caplog.records
    assert fuzzed.predict(files[0]).json == expected
