"""Downloads over plain HTTP from a server on loopback."""

import hashlib
import re
import time
from pathlib import Path

import pytest

from loopback import Request, Serve
from mixlab import download as module
from mixlab.download import download
from mixlab.errors import UserError

CONTENT = bytes(range(256)) * 200
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_retry_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry immediately."""
    monkeypatch.setattr(module, "_RETRY_DELAYS", (0.0, 0.0, 0.0))


def reply_without_range(request: Request) -> None:
    """Ignore the Range header and send the whole file."""
    request.reply(CONTENT)


def reply_with_range(request: Request, max_bytes: int = len(CONTENT)) -> None:
    """Support the Range header, and close the connection after `max_bytes` bytes."""
    start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    if start >= len(CONTENT):
        return request.reply(b"", 416, Content_Range=f"bytes */{len(CONTENT)}")
    request.send_response(206 if start else 200)
    request.send_header("Content-Length", str(len(CONTENT) - start))
    request.end_headers()
    request.wfile.write(CONTENT[start : start + max_bytes])
    return None


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "w.npz"


def write_partial(target: Path, content: bytes) -> Path:
    target.parent.mkdir()
    partial = target.with_name("w.npz.part")
    partial.write_bytes(content)
    return partial


def test_the_file_and_its_sha256_are_written(serve: Serve, target: Path) -> None:
    server = serve(reply_without_range)
    assert download(f"{server.address}/w.npz", target, SHA256) == target
    assert target.read_bytes() == CONTENT
    assert (target.parent / "w.npz.sha256").read_text() == f"{SHA256}  w.npz\n"
    assert sorted(file.name for file in target.parent.iterdir()) == ["w.npz", "w.npz.sha256"]


def test_the_sha256_is_computed_even_if_none_is_expected(serve: Serve, target: Path) -> None:
    download(serve(reply_without_range).address, target, None)
    assert (target.parent / "w.npz.sha256").read_text().startswith(SHA256)


def test_an_existing_target_needs_no_network(serve: Serve, target: Path) -> None:
    server = serve(reply_without_range)
    target.parent.mkdir()
    target.write_bytes(b"mine")
    assert download(server.address, target, SHA256).read_bytes() == b"mine"
    assert server.requests == []


def test_a_slow_download_succeeds(serve: Serve, target: Path) -> None:
    def slow(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        for start in range(0, len(CONTENT), len(CONTENT) // 4):
            time.sleep(0.05)
            request.wfile.write(CONTENT[start : start + len(CONTENT) // 4])

    assert download(serve(slow).address, target, SHA256).read_bytes() == CONTENT


def test_a_server_that_stops_answering_times_out(serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.1)
    with pytest.raises(UserError, match=r"no response for 0\.1 s.*by hand"):
        download(serve(lambda request: time.sleep(0.3)).address, target, SHA256)


def test_an_interrupted_download_is_resumed(serve: Serve, target: Path) -> None:
    server = serve(lambda request: reply_with_range(request, max_bytes=20_000))
    assert download(server.address, target, SHA256).read_bytes() == CONTENT
    assert [requested_range for _, _, requested_range in server.requests] == [None, "bytes=20000-", "bytes=40000-"]


def test_after_too_many_interruptions_the_next_call_resumes(serve: Serve, target: Path) -> None:
    server = serve(lambda request: reply_with_range(request, max_bytes=10_000))
    with pytest.raises(UserError, match=r"was lost 4 times \(40000 of 51200 bytes received\).*Run again to resume"):
        download(server.address, target, SHA256)
    assert (target.parent / "w.npz.part").stat().st_size == 40_000
    assert not target.exists()
    server.answer = reply_with_range
    assert download(server.address, target, SHA256).read_bytes() == CONTENT
    assert server.requests[-1][2] == "bytes=40000-"


def test_the_download_restarts_if_the_server_ignores_the_range(serve: Serve, target: Path) -> None:
    write_partial(target, b"older than the file" * 10)
    server = serve(reply_without_range)
    assert download(server.address, target, SHA256).read_bytes() == CONTENT
    assert server.requests[0][2] == "bytes=190-"


def test_a_partial_file_that_is_complete_is_not_downloaded_again(serve: Serve, target: Path) -> None:
    write_partial(target, CONTENT)
    server = serve(reply_with_range)
    assert download(server.address, target, SHA256).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_the_download_restarts_if_the_partial_file_is_too_long(serve: Serve, target: Path) -> None:
    write_partial(target, CONTENT + b"x")
    server = serve(reply_with_range)
    assert download(server.address, target, SHA256).read_bytes() == CONTENT
    assert [requested_range for _, _, requested_range in server.requests] == ["bytes=51201-", None]


def test_a_wrong_sha256_is_reported_and_the_file_removed(serve: Serve, target: Path) -> None:
    wrong = "0" * 64
    with pytest.raises(
        UserError, match=rf"begins with {SHA256[:12]} instead of {wrong[:12]}.*put it at {re.escape(str(target))}"
    ):
        download(serve(reply_without_range).address, target, wrong)
    assert not target.parent.exists() or list(target.parent.iterdir()) == []


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (500, "500 Internal")])
def test_an_http_error_names_the_address_and_the_target(serve: Serve, target: Path, status: int, words: str) -> None:
    server = serve(lambda request: request.reply(b"sorry", status))
    with pytest.raises(UserError, match=words) as caught:
        download(f"{server.address}/w.npz", target, SHA256)
    assert f"{server.address}/w.npz can't be downloaded" in str(caught.value)
    assert str(caught.value).endswith(f"download it by hand, and put it at {target}.")
    assert not target.parent.exists()


def test_an_unreachable_server_names_the_address_and_the_target(serve: Serve, target: Path) -> None:
    server = serve(reply_without_range)
    server.stop()
    with pytest.raises(UserError, match=rf"{server.address} can't be downloaded \(Connection refused\).*{target.name}"):
        download(server.address, target, SHA256)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_a_user_error(serve: Serve, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / "w.npz.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"w\.npz could not be written: the disk is full"):
        download(serve(reply_without_range).address, target, SHA256)
