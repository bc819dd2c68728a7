"""Downloads against servers on loopback: plain HTTP, and a small stand-in for the hub."""

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download, hf_hub_download, utils

from mixlab import download
from mixlab.download import downloaded
from mixlab.errors import UserError
from mixlab.zoo.download import cached_weights, hub_folder

CONTENT = bytes(range(256)) * 200
SUM = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "c0ffee" + "0" * 34

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """Answers GET and HEAD by `answer`; `requests` is what was asked: method, path, Range."""

    answer: Answer
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append((self.command, self.path, self.headers["Range"]))
                with suppress(BrokenPipeError, ConnectionResetError):
                    server.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._http.server_address[1]}"

    def stop(self) -> None:
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], Server]]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(download, "_PAUSES", (0.0, 0.0, 0.0))
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def send(request: BaseHTTPRequestHandler, body: bytes, status: int = 200, /, **headers: str) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def whole(request: BaseHTTPRequestHandler) -> None:
    """Knows no Range."""
    send(request, CONTENT)


def ranged(request: BaseHTTPRequestHandler, most: int = len(CONTENT)) -> None:
    """Knows Range, and cuts the connection after `most` bytes."""
    start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    if start >= len(CONTENT):
        return send(request, b"", 416, Content_Range=f"bytes */{len(CONTENT)}")
    request.send_response(206 if start else 200)
    request.send_header("Content-Length", str(len(CONTENT) - start))
    request.end_headers()
    request.wfile.write(CONTENT[start : start + most])
    return None


def refused() -> str:
    """An address where nothing listens."""
    server = Server(whole)
    server.stop()
    return server.address


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "w.npz"


def part_of(target: Path, content: bytes) -> Path:
    target.parent.mkdir()
    part = target.with_name("w.npz.part")
    part.write_bytes(content)
    return part


def test_a_file_is_fetched_whole_with_its_sum_beside_it(serve: Callable, target: Path) -> None:
    server = serve(whole)
    assert downloaded(f"{server.address}/w.npz", target, SUM) == target
    assert target.read_bytes() == CONTENT
    assert (target.parent / "w.npz.sha256").read_text() == f"{SUM}  w.npz\n"
    assert sorted(file.name for file in target.parent.iterdir()) == ["w.npz", "w.npz.sha256"]


def test_where_no_sum_is_known_it_is_still_computed(serve: Callable, target: Path) -> None:
    downloaded(serve(whole).address, target, None)
    assert (target.parent / "w.npz.sha256").read_text().startswith(SUM)


def test_a_target_that_is_there_touches_no_network(serve: Callable, target: Path) -> None:
    server = serve(whole)
    target.parent.mkdir()
    target.write_bytes(b"mine")
    assert downloaded(server.address, target, SUM).read_bytes() == b"mine"
    assert server.requests == []


def test_a_slow_server_is_waited_for(serve: Callable, target: Path) -> None:
    def slow(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        for start in range(0, len(CONTENT), len(CONTENT) // 4):
            time.sleep(0.05)
            request.wfile.write(CONTENT[start : start + len(CONTENT) // 4])

    assert downloaded(serve(slow).address, target, SUM).read_bytes() == CONTENT


def test_a_server_that_says_no_more_is_not_waited_for_forever(
    serve: Callable, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_PATIENCE", 0.1)
    with pytest.raises(UserError, match=r"no answer for 0\.1 s.*by hand"):
        downloaded(serve(lambda request: time.sleep(0.3)).address, target, SUM)


def test_what_breaks_off_is_resumed_where_it_ended(serve: Callable, target: Path) -> None:
    server = serve(lambda request: ranged(request, most=20_000))
    assert downloaded(server.address, target, SUM).read_bytes() == CONTENT
    assert [asked for _, _, asked in server.requests] == [None, "bytes=20000-", "bytes=40000-"]


def test_what_breaks_off_too_often_is_kept_for_the_next_call(serve: Callable, target: Path) -> None:
    server = serve(lambda request: ranged(request, most=10_000))
    with pytest.raises(UserError, match=r"broke off 4 times \(40000 of 51200 bytes are here\).*next run resumes"):
        downloaded(server.address, target, SUM)
    assert (target.parent / "w.npz.part").stat().st_size == 40_000
    assert not target.exists()
    server.answer = ranged
    assert downloaded(server.address, target, SUM).read_bytes() == CONTENT
    assert server.requests[-1][2] == "bytes=40000-"


def test_a_server_that_ignores_the_range_starts_anew(serve: Callable, target: Path) -> None:
    part_of(target, b"older than the file" * 10)
    server = serve(whole)
    assert downloaded(server.address, target, SUM).read_bytes() == CONTENT
    assert server.requests[0][2] == "bytes=190-"


def test_a_part_that_is_the_whole_file_is_taken_as_it_is(serve: Callable, target: Path) -> None:
    part_of(target, CONTENT)
    server = serve(ranged)
    assert downloaded(server.address, target, SUM).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_part_longer_than_the_file_starts_anew(serve: Callable, target: Path) -> None:
    part_of(target, CONTENT + b"x")
    server = serve(ranged)
    assert downloaded(server.address, target, SUM).read_bytes() == CONTENT
    assert [asked for _, _, asked in server.requests] == ["bytes=51201-", None]


def test_a_wrong_sum_names_both_and_leaves_nothing(serve: Callable, target: Path) -> None:
    wrong = "0" * 64
    with pytest.raises(
        UserError, match=rf"begins {SUM[:12]} instead of {wrong[:12]}.*put it at {re.escape(str(target))}"
    ):
        downloaded(serve(whole).address, target, wrong)
    assert not target.parent.exists() or list(target.parent.iterdir()) == []


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (500, "500 Internal")])
def test_a_refusal_names_the_address_and_the_place(serve: Callable, target: Path, status: int, words: str) -> None:
    server = serve(lambda request: send(request, b"sorry", status))
    with pytest.raises(UserError, match=words) as caught:
        downloaded(f"{server.address}/w.npz", target, SUM)
    assert f"{server.address}/w.npz can't be fetched" in str(caught.value)
    assert str(caught.value).endswith(f"fetch it by hand, and put it at {target}.")
    assert not target.parent.exists()


def test_no_server_names_the_address_and_the_place(serve: Callable, target: Path) -> None:
    address = refused()
    with pytest.raises(UserError, match=rf"{address} can't be fetched \(Connection refused\).*{target.name}"):
        downloaded(address, target, SUM)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_one_sentence(serve: Callable, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / "w.npz.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"w\.npz could not be written: the disk is full"):
        downloaded(serve(whole).address, target, SUM)


class Hub:
    """What huggingface_hub asks of the hub: a model's facts, its tree, and its files."""

    def __init__(self, files: dict[str, bytes]):
        self.files = files
        self.refusal: tuple[int, str] | None = None  # status and X-Error-Code
        self.refused_file = ""

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        if self.refusal and (not self.refused_file or path.endswith(self.refused_file)):
            status, code = self.refusal
            return send(request, b"{}", status, X_Error_Code=code)
        if path.startswith("/api/models/owner/name/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(body), "oid": oid(body)} for name, body in self.files.items()
            ]
            return send(request, json.dumps(tree).encode(), Content_Type="application/json")
        if path.startswith("/api/models/owner/name"):
            siblings = [{"rfilename": name} for name in self.files]
            facts = {"id": "owner/name", "sha": COMMIT, "siblings": siblings}
            return send(request, json.dumps(facts).encode(), Content_Type="application/json")
        name = path.rpartition("/")[2]
        if path.startswith("/owner/name/resolve/") and name in self.files:
            body = self.files[name]
            return send(request, body, ETag=f'"{oid(body)}"', X_Repo_Commit=COMMIT)
        return send(request, b"", 404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)


def oid(body: bytes) -> str:
    return hashlib.sha1(body).hexdigest()


@pytest.fixture
def hub(serve: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Hub, Server]]:
    def start(*names: str) -> tuple[Hub, Server]:
        stand_in = Hub({name: f"the content of {name}".encode() for name in names})
        server = serve(stand_in)
        file_address = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        for holder in (constants, file_download):  # the client read its own copy before 1.0
            monkeypatch.setattr(holder, "HUGGINGFACE_CO_URL_TEMPLATE", file_address, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        getattr(utils, "reset_sessions", lambda: None)()  # before 1.0 a session kept the switch that it began with
        return stand_in, server

    return start


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_only_the_config_and_the_safetensors_come_from_the_hub(
    hub: Callable, capfd: pytest.CaptureFixture[str]
) -> None:
    hub("README.md", "config.json", "model.safetensors", "pytorch_model.bin", "model.onnx", "tf_model.h5")
    folder = hub_folder("owner/name")
    assert names(folder) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_text() == "the content of model.safetensors"
    assert "Fetching" not in capfd.readouterr().err


def test_a_second_call_works_without_the_hub_and_asks_nothing(hub: Callable) -> None:
    _, server = hub("config.json", "model.safetensors")
    folder = hub_folder("owner/name")
    server.stop()
    assert hub_folder("owner/name") == folder


def test_a_folder_without_config_is_complete_too_and_known_to_be(hub: Callable) -> None:
    _, server = hub("model.safetensors")
    folder = hub_folder("owner/name")
    asked = len(server.requests)
    assert names(hub_folder("owner/name")) == names(folder) == ["model.safetensors"]
    assert len(server.requests) == asked


def test_weights_that_another_program_has_fetched_are_found_without_their_config(hub: Callable) -> None:
    _, server = hub("config.json", "model.safetensors")
    assert cached_weights("owner/name") is None
    file = hf_hub_download("owner/name", "model.safetensors", endpoint=server.address)
    server.stop()
    assert cached_weights("owner/name") == Path(file).parent


def test_shards_come_with_their_index_and_a_missing_one_is_fetched_again(hub: Callable) -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    stand_in, _ = hub("config.json", "model.safetensors.index.json", *shards, "pytorch_model.bin")
    stand_in.files["model.safetensors.index.json"] = json.dumps(
        {"weight_map": dict(zip("ab", shards, strict=True))}
    ).encode()
    folder = hub_folder("owner/name")
    assert names(folder) == ["config.json", *shards, "model.safetensors.index.json"]
    (folder / shards[1]).unlink()
    assert names(hub_folder("owner/name")) == ["config.json", *shards, "model.safetensors.index.json"]


def test_the_pickle_is_taken_where_there_is_nothing_better(hub: Callable) -> None:
    hub("config.json", "pytorch_model.bin", "flax_model.msgpack")
    assert names(hub_folder("owner/name")) == ["config.json", "pytorch_model.bin"]


def test_a_revision_is_asked_for_and_cached_under_its_own_name(hub: Callable) -> None:
    _, server = hub("config.json", "model.safetensors")
    folder = hub_folder("owner/name@v2")
    assert any("revision/v2" in path for _, path, _ in server.requests)
    server.stop()
    assert hub_folder("owner/name@v2") == folder
    with pytest.raises(UserError, match="resolve/main"):
        hub_folder("owner/name")


def test_a_repository_without_weights_says_what_lies_there(hub: Callable) -> None:
    hub("README.md", "config.json", "tf_model.h5")
    with pytest.raises(UserError, match=r"neither model.safetensors.*but README\.md, config\.json, tf_model\.h5"):
        hub_folder("owner/name")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "RepoNotFound", "is not on the hub, or is private.*hf auth login"),
        (401, "RepoNotFound", "is not on the hub, or is private.*hf auth login"),
        (403, "GatedRepo", "is gated on the hub: accept its terms.*hf auth login"),
        (404, "RevisionNotFound", 'has no revision "main"'),
    ],
)
def test_a_refusal_of_the_hub_says_what_to_do(hub: Callable, status: int, code: str, words: str) -> None:
    stand_in, _ = hub("config.json", "model.safetensors")
    stand_in.refusal = (status, code)
    with pytest.raises(UserError, match=words):
        hub_folder("owner/name")


def test_a_gate_before_the_files_alone_is_the_same_sentence(hub: Callable) -> None:
    stand_in, _ = hub("config.json", "model.safetensors")
    stand_in.refusal, stand_in.refused_file = (403, "GatedRepo"), "model.safetensors"
    with pytest.raises(UserError, match="is gated on the hub"):
        hub_folder("owner/name")


def test_without_the_hub_the_addresses_to_fetch_are_named(hub: Callable) -> None:
    _, server = hub("config.json", "model.safetensors")
    server.stop()
    with pytest.raises(UserError) as caught:
        hub_folder("owner/name")
    for file in ("model.safetensors", "config.json"):
        assert f"{server.address}/owner/name/resolve/main/{file}" in str(caught.value)
    assert "put both in a folder, and give that folder as the model" in str(caught.value)


def test_the_hubs_offline_switch_is_heeded(hub: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    _, server = hub("config.json", "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"offline.*put both in a folder"):
        hub_folder("owner/name")
    assert server.requests == []


@pytest.mark.parametrize("name", ["owner/name/more", "owner name", ""])
def test_a_name_that_is_none_is_told_the_form(hub: Callable, name: str) -> None:
    hub()
    with pytest.raises(UserError, match="it is owner/name, or owner/name@revision"):
        hub_folder(name)
