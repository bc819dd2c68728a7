"""Runs the application of `mixlab serve`: address, token, first predictions, time limits of connections, signals."""

import asyncio
import errno
import ipaddress
import logging
import os
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI
from sklearn.datasets import load_sample_images
from uvicorn.protocols.http.h11_impl import H11Protocol

from mixlab.errors import UserError
from mixlab.files import translate_read_errors
from mixlab.prediction.predictor import BATCH, Predictor

TOKEN_VARIABLE = "MIXLAB_TOKEN"

_MIN_TOKEN = 16  # characters
_JOB = 10_000  # images; the plan of the server is that of a job of this size
_HEAD_SECONDS = 10.0  # for the head of a request
_MAX_CONNECTIONS = 512


def listen(host: str, port: int) -> socket.socket:
    """A socket for the address, which is taken but does not accept connections yet. Raises UserError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise _wrong_host(host) from error
    try:
        if os.name == "posix":  # a port of a server that has just ended; Windows would share one that is in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise _wrong_host(host) from error
        raise UserError(
            f"Port {port} of {host} can't be used ({(error.strerror or str(error)).lower()}): give another one with "
            "--port; --port 0 finds a free one."
        ) from error
    return listener


def _wrong_host(host: str) -> UserError:
    return UserError(
        f"--host {host} is not an address of this machine: give 127.0.0.1 for programs on this machine only, or "
        "0.0.0.0 for all of its networks."
    )


def address_of(listener: socket.socket) -> str:
    """The URL of a server that listens on the socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Whether only programs on this machine can connect."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def find_token(file: Path | None) -> str | None:
    """The token in the file, or else in the environment; None if there is none. Raises UserError for a bad token."""
    if file is not None:
        if not file.is_file():
            raise UserError(f"--token-file {file} is not a file: write a token to it, or give another file.")
        with translate_read_errors(file):
            return _require_token(file.read_bytes().decode(errors="replace").strip(), f"--token-file {file}")
    if TOKEN_VARIABLE in os.environ:
        return _require_token(os.environ[TOKEN_VARIABLE].strip(), f"The variable {TOKEN_VARIABLE}")
    return None


def _require_token(token: str, source: str) -> str:
    if re.fullmatch(rf"[!-~]{{{_MIN_TOKEN},}}", token) is None:
        raise UserError(
            f"{source} has no token: it must be one line of at least {_MIN_TOKEN} letters, digits or signs without "
            "spaces, for example of `openssl rand -hex 32`."
        )
    return token


def select_plan(predictor: Predictor) -> None:
    """Predict parts of two photographs, so that the fastest plan is selected before the first request.

    A thread of its own computes, which ends. OpenMP keeps the threads of every thread that has computed, and once there
    are more than cores, they no longer wait actively for the next operation: images take a third longer.
    """
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_predict_photographs, predictor).result()


def _predict_photographs(predictor: Predictor) -> None:
    random = np.random.default_rng(0)
    parts = []
    for photograph in load_sample_images().images * (BATCH // 2):
        top, left = random.integers(0, 200, size=2)
        parts.append(predictor.read(np.ascontiguousarray(photograph[top : top + 200, left : left + 200])))
    predictor.predict_batch(parts, remaining=_JOB)
    predictor.predict_batch(parts[:1])


def run(server: uvicorn.Server, listener: socket.socket) -> None:
    """Answer requests until SIGTERM or Ctrl-C, which raises KeyboardInterrupt after the last answer."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # uvicorn repeats the signal after its own handler
    try:
        server.run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)


def make_server(app: FastAPI, *, drain_seconds: float) -> uvicorn.Server:
    """A server that answers the requests in progress after a signal, for at most `drain_seconds`."""
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it reports what clients send
    config = uvicorn.Config(
        app,
        http=_StrictProtocol,
        ws="none",
        log_config=None,  # uvicorn's own one would close the handlers of this process
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=int(drain_seconds) + 1,
    )
    return uvicorn.Server(config)


class _StrictProtocol(H11Protocol):
    """uvicorn's protocol, which ends requests that it would continue.

    A connection that does not send the complete head of a request in time is closed; uvicorn waits for it forever. A
    request with a damaged body ends with the 400 that uvicorn sends; otherwise the application would answer it again.
    """

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _watch_head(self) -> None:
        is_waiting = self.cycle is None or self.cycle.response_complete
        if self._head_timer is not None and not is_waiting:
            self._head_timer.cancel()
            self._head_timer = None
        elif self._head_timer is None and is_waiting:
            self._head_timer = self.loop.call_later(_HEAD_SECONDS, self.timeout_keep_alive_handler)
