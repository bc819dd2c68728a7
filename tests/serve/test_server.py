"""Address, token, time limits of connections, and the end of the server."""

import logging
import socket
import threading

import pytest

from mixlab.errors import UserError
from mixlab.serve import server
from mixlab.serve.app import Limits
from mixlab.serve.server import address_of, find_token, is_loopback, listen, select_plan

TOKEN = "0123456789abcdef"


def test_a_port_in_use_is_refused():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address_of(listener) == f"http://127.0.0.1:{port}"
        with pytest.raises(UserError, match=rf"^Port {port} of 127.0.0.1 can't be used .*--port 0 finds a free one.$"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "x" * 300])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(UserError, match=r"^--host .* is not an address of this machine: "):
        listen(host, 0)


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])
def test_loopback_addresses_are_recognised(host, expected):
    with listen(host, 0) as listener:
        assert is_loopback(listener) == expected


def test_addresses_of_ipv6_are_in_brackets():
    try:
        listener = listen("::1", 0)
    except UserError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert address_of(listener).startswith("http://[::1]:")
        assert is_loopback(listener)


def test_the_token_comes_from_the_file_or_else_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("MIXLAB_TOKEN", raising=False)
    assert find_token(None) is None
    monkeypatch.setenv("MIXLAB_TOKEN", TOKEN)
    assert find_token(None) == TOKEN
    (tmp_path / "token").write_text(f"{TOKEN[::-1]}\n")
    assert find_token(tmp_path / "token") == TOKEN[::-1]


@pytest.mark.parametrize("content", [b"", b"\n", b"short", TOKEN.encode() + b"\nsecond", b"\xff" * 20, b"a b" * 9])
def test_a_file_without_a_usable_token_is_refused(tmp_path, monkeypatch, content):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(UserError, match=r"^--token-file .*token has no token: it must be one line of at least 16 "):
        find_token(tmp_path / "token")
    monkeypatch.setenv("MIXLAB_TOKEN", "")
    with pytest.raises(UserError, match=r"^The variable MIXLAB_TOKEN has no token: "):
        find_token(None)


def test_the_plan_is_selected_on_a_batch_of_photographs_before_the_first_request(predictor):
    class Recording:
        calls, threads = [], set()

        def read(self, image):
            self.threads.add(threading.current_thread())
            return predictor.read(image)

        def predict_batch(self, images, remaining=0):
            self.threads.add(threading.current_thread())
            self.calls.append((len(images), remaining))
            return predictor.predict_batch(images)

    recording = Recording()
    select_plan(recording)  # pyright: ignore[reportArgumentType]
    assert recording.calls == [(64, 10_000), (1, 0)]
    assert not any(thread.is_alive() for thread in recording.threads)  # a thread keeps the threads of OpenMP


def read_to_the_end(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(1000), b""))


def test_a_connection_without_a_complete_head_is_closed(start, contents, monkeypatch):
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.3)
    slow = start()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(contents[0])}\r\n".encode()
    for beginning in (b"", head):
        with socket.create_connection(("127.0.0.1", slow.port), timeout=10) as client:
            client.sendall(beginning)
            assert client.recv(1) == b""
    with socket.create_connection(("127.0.0.1", slow.port), timeout=10) as client:
        client.sendall(head + b"\r\n" + contents[0] + head)  # the second head of the connection is not complete
        assert read_to_the_end(client).startswith(b"HTTP/1.1 200 ")


def test_a_damaged_body_is_answered_once(start, monkeypatch, caplog):
    damaged = start()
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)  # to caplog
    with socket.create_connection(("127.0.0.1", damaged.port), timeout=10) as client:
        head = b"GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head + b"not a number of bytes\r\n")
        received = read_to_the_end(client)
    assert received.startswith(b"HTTP/1.1 400 ") and received.count(b"HTTP/1.1") == 1
    assert not caplog.records


def test_a_slow_body_is_not_a_slow_head(start, contents, monkeypatch):
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.1)
    slow = start()
    with socket.create_connection(("127.0.0.1", slow.port), timeout=10) as client:
        client.sendall(f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(contents[0])}\r\n\r\n".encode())
        threading.Event().wait(0.5)
        client.sendall(contents[0])
        assert client.recv(10_000).startswith(b"HTTP/1.1 200 ")


def begin_request(client: socket.socket, length: int) -> None:
    """Send the head of a request, and wait until the server asks for its body."""
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    client.sendall(head.encode())
    assert client.recv(1000).startswith(b"HTTP/1.1 100 ")


def test_a_server_that_stops_answers_the_requests_in_progress_and_accepts_no_others(start, contents):
    stopping = start(Limits(seconds=20))
    address = ("127.0.0.1", stopping.port)
    with socket.create_connection(address, timeout=10) as client, socket.create_connection(address, timeout=10) as idle:
        begin_request(client, len(contents[0]))
        client.sendall(contents[0][:10])
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200 ")
        stopping.server.should_exit = True
        read_to_the_end(idle)
        with pytest.raises(ConnectionError):
            socket.create_connection(address, timeout=10)
        client.sendall(contents[0][10:])
        assert read_to_the_end(client).startswith(b"HTTP/1.1 200 ")
    stopping.thread.join(30)
    assert not stopping.thread.is_alive()


def test_a_server_that_stops_does_not_wait_for_a_client_beyond_the_time_limit(start):
    stopping = start(Limits(seconds=0.5))
    with socket.create_connection(("127.0.0.1", stopping.port), timeout=10) as client:
        begin_request(client, 9)
        stopping.stop()
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
