"""Downloads over plain HTTP, against a server on loopback."""

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
SUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again at once."""
    monkeypatch.setattr(module, "_PAUSES", (0.0, 0.0, 0.0))


def whole(request: Request) -> None:
    """Knows no Range."""
    request.reply(CONTENT)


def ranged(request: Request, most: int = len(CONTENT)) -> None:
    """Knows Range, and cuts the connection after `most` bytes."""
    start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    if start >= len(CONTENT):
        return request.reply(b"", 416, Content_Range=f"bytes */{len(CONTENT)}")
    request.send_response(206 if start else 200)
    request.send_header("Content-Length", str(len(CONTENT) - start))
    request.end_headers()
    request.wfile.write(CONTENT[start : start + most])
    return None


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "w.npz"


def part_of(target: Path, content: bytes) -> Path:
    target.parent.mkdir()
    split = target.with_name("w.npz.part")
    split.write_bytes(content)
    return split


def test_a_file_is_fetched_whole_with_its_sum_beside_it(serve: Serve, target: Path) -> None:
    server = serve(whole)
    assert download(f"{server.address}/w.npz", target, SUM) == target
    assert target.read_bytes() == CONTENT
    assert (target.parent / "w.npz.sha256").read_text() == f"{SUM}  w.npz\n"
    assert sorted(file.name for file in target.parent.iterdir()) == ["w.npz", "w.npz.sha256"]


def test_where_no_sum_is_known_it_is_still_computed(serve: Serve, target: Path) -> None:
    download(serve(whole).address, target, None)
    assert (target.parent / "w.npz.sha256").read_text().startswith(SUM)


def test_a_target_that_is_there_touches_no_network(serve: Serve, target: Path) -> None:
    server = serve(whole)
    target.parent.mkdir()
    target.write_bytes(b"mine")
    assert download(server.address, target, SUM).read_bytes() == b"mine"
    assert server.requests == []


def test_a_slow_server_is_waited_for(serve: Serve, target: Path) -> None:
    def slow(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        for start in range(0, len(CONTENT), len(CONTENT) // 4):
            time.sleep(0.05)
            request.wfile.write(CONTENT[start : start + len(CONTENT) // 4])

    assert download(serve(slow).address, target, SUM).read_bytes() == CONTENT


def test_a_server_that_says_no_more_is_not_waited_for_forever(
    serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    with pytest.raises(UserError, match=r"no answer for 0\.1 s.*by hand"):
        download(serve(lambda request: time.sleep(0.3)).address, target, SUM)


def test_what_breaks_off_is_resumed_where_it_ended(serve: Serve, target: Path) -> None:
    server = serve(lambda request: ranged(request, most=20_000))
    assert download(server.address, target, SUM).read_bytes() == CONTENT
    assert [asked for _, _, asked in server.requests] == [None, "bytes=20000-", "bytes=40000-"]


def test_what_breaks_off_too_often_is_kept_for_the_next_call(serve: Serve, target: Path) -> None:
    server = serve(lambda request: ranged(request, most=10_000))
    with pytest.raises(UserError, match=r"broke off 4 times \(40000 of 51200 bytes are here\).*next run resumes"):
        download(server.address, target, SUM)
    assert (target.parent / "w.npz.part").stat().st_size == 40_000
    assert not target.exists()
    server.answer = ranged
    assert download(server.address, target, SUM).read_bytes() == CONTENT
    assert server.requests[-1][2] == "bytes=40000-"


def test_a_server_that_ignores_the_range_starts_anew(serve: Serve, target: Path) -> None:
    part_of(target, b"older than the file" * 10)
    server = serve(whole)
    assert download(server.address, target, SUM).read_bytes() == CONTENT
    assert server.requests[0][2] == "bytes=190-"


def test_a_part_that_is_the_whole_file_is_taken_as_it_is(serve: Serve, target: Path) -> None:
    part_of(target, CONTENT)
    server = serve(ranged)
    assert download(server.address, target, SUM).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_part_longer_than_the_file_starts_anew(serve: Serve, target: Path) -> None:
    part_of(target, CONTENT + b"x")
    server = serve(ranged)
    assert download(server.address, target, SUM).read_bytes() == CONTENT
    assert [asked for _, _, asked in server.requests] == ["bytes=51201-", None]


def test_a_wrong_sum_names_both_and_leaves_nothing(serve: Serve, target: Path) -> None:
    wrong = "0" * 64
    with pytest.raises(
        UserError, match=rf"begins {SUM[:12]} instead of {wrong[:12]}.*put it at {re.escape(str(target))}"
    ):
        download(serve(whole).address, target, wrong)
    assert not target.parent.exists() or list(target.parent.iterdir()) == []


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (500, "500 Internal")])
def test_a_refusal_names_the_address_and_the_place(serve: Serve, target: Path, status: int, words: str) -> None:
    server = serve(lambda request: request.reply(b"sorry", status))
    with pytest.raises(UserError, match=words) as caught:
        download(f"{server.address}/w.npz", target, SUM)
    assert f"{server.address}/w.npz can't be fetched" in str(caught.value)
    assert str(caught.value).endswith(f"fetch it by hand, and put it at {target}.")
    assert not target.parent.exists()


def test_no_server_names_the_address_and_the_place(serve: Serve, target: Path) -> None:
    server = serve(whole)
    server.stop()
    with pytest.raises(UserError, match=rf"{server.address} can't be fetched \(Connection refused\).*{target.name}"):
        download(server.address, target, SUM)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_one_sentence(serve: Serve, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / "w.npz.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"w\.npz could not be written: the disk is full"):
        download(serve(whole).address, target, SUM)
