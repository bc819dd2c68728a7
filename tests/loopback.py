"""Servers on loopback: plain ones, and a stand-in for the Hugging Face hub. A plugin of the tests."""

import base64
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


class Request(BaseHTTPRequestHandler):
    """A request to a server on loopback, and methods to reply."""

    server: "Served"  # pyright: ignore[reportIncompatibleVariableOverride]  the only server that it is given to

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path, self.headers["Range"]))
        with suppress(BrokenPipeError, ConnectionResetError):
            self.server.answer(self)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def reply(self, body: bytes, status: int = 200, /, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_json(self, value: Any, status: int = 200, /, **headers: str) -> None:
        self.reply(json.dumps(value).encode(), status, **headers)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


Handler = Callable[[Request], None]


class Served(ThreadingHTTPServer):
    """A server that handles GET, HEAD and POST with `answer`; `requests` lists (method, path, Range)."""

    def __init__(self, answer: Handler):
        super().__init__(("127.0.0.1", 0), Request)
        self.answer, self.requests = answer, list[tuple[str, str, str | None]]()
        self.address = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def asked(self) -> list[str]:
        """The requested paths."""
        return [path for _, path, _ in self.requests]

    def stop(self) -> None:
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
            self.server_close()


Serve = Callable[[Handler | Path], Served]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a server on loopback without a proxy. It serves the files of a folder, or the replies of a function."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    servers: list[Served] = []

    def start(served: Handler | Path) -> Served:
        servers.append(Served(_files_of(served) if isinstance(served, Path) else served))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def _files_of(folder: Path) -> Handler:
    def answer(request: Request) -> None:
        file = folder / request.path.lstrip("/")
        request.reply(file.read_bytes()) if file.is_file() else request.reply(b"", 404)

    return answer


@pytest.fixture
def hub_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes an address the hub that huggingface_hub talks to, with an empty cache."""
    from huggingface_hub import constants, file_download, utils

    def redirect(address: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for holder in (constants, file_download):  # the client read its own copy before 1.0
            file_address = address + "/{repo_id}/resolve/{revision}/{filename}"
            monkeypatch.setattr(holder, "HUGGINGFACE_CO_URL_TEMPLATE", file_address, raising=False)
        getattr(utils, "reset_sessions", lambda: None)()  # before 1.0, a session did not notice the change

    return redirect


@dataclass
class WritableHub:
    """A stand-in for the Hugging Face hub on loopback: repositories can be created, filled and read.

    `refuse` maps the beginning of a path, such as "/api/repos/create", to the status and message of an error.
    """

    public: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    files: dict[str, bytes] = field(default_factory=dict)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    address: str = ""

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        """The status, and JSON or the content of a file."""
        for beginning, (status, words) in self.refuse.items():
            if path.startswith(beginning):
                return status, {"error": words, "errors": [{"message": words}]}
        match path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                there = name in self.public | self.private
                if not there:
                    (self.private if asked.get("visibility") == "private" else self.public).add(name)
                return 409 if there else 200, {"url": f"{self.address}/{name}"}
            case ["api", "validate-yaml"]:
                return 200, {}
            case ["api", "models", _, _, "preupload", "main"]:
                paths = [file["path"] for file in json.loads(body)["files"]]
                modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
                return 200, {"files": modes}
            case ["api", "models", owner, name, "commit", "main"]:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                return 200, {"commitUrl": f"{self.address}/{owner}/{name}/commit/{_COMMIT}", "commitOid": _COMMIT}
            case ["api", "models", _, _, "tree", *_]:
                return 200, [
                    {"type": "file", "path": path, "size": len(file), "oid": hashlib.sha1(file).hexdigest()}
                    for path, file in self.files.items()
                ]
            case ["api", "models", owner, name, *_] if f"{owner}/{name}" in self.public | self.private:
                siblings = [{"rfilename": path} for path in self.files]
                private = f"{owner}/{name}" in self.private
                return 200, {"id": f"{owner}/{name}", "sha": _COMMIT, "private": private, "siblings": siblings}
            case [_, _, "resolve", _, path] if path in self.files:
                return 200, self.files[path]
        return 404, {}


_COMMIT = "c0ffee" + "0" * 34


@pytest.fixture
def writable_hub(serve: Serve, hub_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> WritableHub:
    """A fake hub that huggingface_hub uses, with a logged-in user."""
    hub = WritableHub()

    def answer(request: Request) -> None:
        status, sent = hub.answer(request.path.partition("?")[0], request.body())
        content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X_Repo_Commit": _COMMIT}
        request.reply(content, status, **headers, **({"X_Error_Code": "EntryNotFound"} if status == 404 else {}))

    hub.address = serve(answer).address
    hub_at(hub.address)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    return hub
