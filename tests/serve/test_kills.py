"""The command as a process under load: killed and restarted, stopped by SIGTERM, and stopped by Ctrl-C."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CLIENTS = 4


class Command:
    """A process of `mixlab serve`."""

    def __init__(self, folder: Path, port: int, *options: str):
        words = ["serve", str(folder), "--port", str(port), "--device", "cpu", "--speed", "off", *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mixlab", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)\n", line)
        assert found is not None, line or self.process.communicate()
        self.port = int(found[1])

    def stop(self, number: int) -> tuple[int, str]:
        """Send a signal; the exit status, and standard error."""
        self.process.send_signal(number)
        error = self.process.communicate(timeout=60)[1]
        return self.process.returncode, error


@pytest.fixture
def started() -> Iterator[list[Command]]:
    """A list of commands, whose processes are killed at the end."""
    commands: list[Command] = []
    yield commands
    for command in commands:
        command.process.kill()
        command.process.communicate()


class Client(threading.Thread):
    """Asks for one file after another, and counts the answers; `wrong` lists the answers that are not as expected."""

    def __init__(self, port: int, expected: dict[bytes, list[tuple[str, float]]]):
        super().__init__()
        self.port, self.expected = port, expected
        self.answers, self.wrong = 0, list[str]()
        self.ends = threading.Event()

    def run(self) -> None:
        while not self.ends.is_set():
            for content, labels in self.expected.items():
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                try:
                    connection.request("POST", "/predict", content)
                    reply = connection.getresponse()
                    status, body = reply.status, reply.read()
                except (OSError, http.client.HTTPException):  # killed, or not started
                    time.sleep(0.02)
                    continue
                finally:
                    connection.close()
                self.answers += 1
                if status != 200 or not self._is_expected(body, labels):
                    self.wrong.append(f"{status} {body.decode()}")

    def _is_expected(self, body: bytes, labels: list[tuple[str, float]]) -> bool:
        (answer,) = json.loads(body)["predictions"]
        found = [(each["label"], pytest.approx(each["probability"], abs=1e-5)) for each in answer["labels"]]
        return found == labels


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_server_that_is_killed_and_restarted_under_load_gives_no_wrong_answer(
    model_folder, predictor, contents, started
):
    expected = {content: predictor(content).top(5) for content in contents}
    started.append(Command(model_folder, 0))
    clients = [Client(started[0].port, expected) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        for _ in range(3):
            before = [client.answers for client in clients]
            while not all(client.answers > count + 20 for client, count in zip(clients, before, strict=True)):
                assert started[-1].process.poll() is None
                time.sleep(0.01)
            started[-1].process.kill()
            started.append(Command(model_folder, started[0].port))
    finally:
        for client in clients:
            client.ends.set()
        for client in clients:
            client.join()
    assert [client.wrong for client in clients] == [[]] * CLIENTS


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_ends_the_command_with_status_0_after_the_requests_in_progress(model_folder, contents, started):
    started.append(Command(model_folder, 0))
    address = ("127.0.0.1", started[0].port)
    with socket.create_connection(address, timeout=30) as client:
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        client.sendall(f"{head}Content-Length: {len(contents[0])}\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        started[0].process.terminate()
        with pytest.raises(ConnectionError):
            while True:
                socket.create_connection(address, timeout=30).close()
                time.sleep(0.01)
        client.sendall(contents[0])
        assert client.recv(10_000).startswith(b"HTTP/1.1 200 ")
    error = started[0].process.communicate(timeout=60)[1]
    assert (started[0].process.returncode, error) == (0, "")


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_the_command_with_status_130_and_without_a_traceback(model_folder, started):
    started.append(Command(model_folder, 0))
    assert started[0].stop(signal.SIGINT) == (130, "")
