"""Fixtures that several folders of tests share."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mixlab.data.dataset import Dataset, Part


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the CIFAR-10 archive and the ReaL labels, which are too large for the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MIXLAB_DATA", beside))
    if not folder.is_dir():
        pytest.skip("needs the data of $MIXLAB_DATA or ../shared/data, and neither is here")
    return folder


@pytest.fixture
def no_shape_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile can't trace through the checks that jaxtyping adds in tests."""
    from jaxtyping import config

    monkeypatch.setattr(config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def shades() -> Dataset:
    """In memory: dark and light pictures of 8x8 pixels; 40 to train on, 12 for validation, 12 for the test."""
    random = np.random.default_rng(0)

    def part(name: str, pictures: int) -> Part:
        labels = np.arange(pictures) % 2
        images = 60 + 120 * labels[:, None, None, None] + random.integers(-40, 40, size=(pictures, 8, 8, 3))
        return Part([f"{name}/{i}" for i in range(pictures)], labels, list(images.astype(np.uint8)))

    parts = {"train": part("train", 40), "validation": part("validation", 12), "test": part("test", 12)}
    return Dataset("shades", ("dark", "light"), parts)


@pytest.fixture
def tiny_recipe() -> dict[str, Any]:
    """Six steps, an epoch and a fifth, of a Mixer with one block of eight channels, without a trial."""
    return {
        "model": "mixer_nano",
        "data": "shades",
        "image_size": 8,
        "steps": 6,
        "batch": 8,
        "speed": "off",
        "config": {"patch_size": 4, "channels": 8, "token_hidden": 8, "channel_hidden": 16, "depth": 1},
        "optimizer": {"learning_rate": 1e-2, "weight_decay": 0.05},
    }


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str, int], tuple[int, str]]:
    """A function of a page and a width: opens the page in a frame of so many pixels in the installed browser, and
    returns the width that its content takes and what the browser complains about.
    """
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs chromium or Chrome on the path")
    options = "--headless --no-sandbox --disable-gpu --hide-scrollbars --enable-logging=stderr --window-size=1400,900"

    def open_page(html: str, width: int) -> tuple[int, str]:
        frame = tmp_path / "frame.html"
        frame.write_text(  # a frame, because a headless window is never narrower than 500 pixels
            f'<iframe style="width: {width}px; height: 800px; border: 0" srcdoc="{escape(html)}"></iframe>'
            "<script>onload = () => document.body.append("
            "`width=${document.querySelector('iframe').contentDocument.documentElement.scrollWidth};`)</script>",
            encoding="utf-8",
        )
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        done = subprocess.run(
            [browser, *options.split(), "--disable-background-networking", profile, "--dump-dom", frame.as_uri()],
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=True,
        )
        complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        found = re.search(r"width=(\d+);", done.stdout.rpartition("</iframe>")[2])
        assert found is not None, done.stderr
        return int(found[1]), "\n".join(complaints)

    return open_page


class Request(BaseHTTPRequestHandler):
    """What a server on loopback is asked, and the ways to reply."""

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

    def reply_json(self, answer: Any, status: int = 200, /, **headers: str) -> None:
        self.reply(json.dumps(answer).encode(), status, **headers)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


Answer = Callable[[Request], None]


class Served(ThreadingHTTPServer):
    """Answers GET, HEAD and POST by `answer`; `requests` is what was asked: method, path, Range."""

    def __init__(self, answer: Answer):
        super().__init__(("127.0.0.1", 0), Request)
        self.answer, self.requests = answer, list[tuple[str, str, str | None]]()
        self.address = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def asked(self) -> list[str]:
        """The paths."""
        return [path for _, path, _ in self.requests]

    def stop(self) -> None:
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
            self.server_close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer | Path], Served]]:
    """Starts a server on loopback, which no proxy stands before: of answers, or of a folder's files."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    servers: list[Served] = []

    def start(served: Answer | Path) -> Served:
        servers.append(Served(_files_of(served) if isinstance(served, Path) else served))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def _files_of(folder: Path) -> Answer:
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
        getattr(utils, "reset_sessions", lambda: None)()  # before 1.0 a session kept the switch that it began with

    return redirect


@dataclass
class WritableHub:
    """A stand-in for the Hugging Face hub on loopback: repositories are made, filled and read.

    `refuse` maps the beginning of a path, such as "/api/repos/create", to the status and words of a refusal.
    """

    public: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    files: dict[str, bytes] = field(default_factory=dict)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        """The status, and JSON or a file's content."""
        self.asked.append(path)
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
def writable_hub(serve: Callable, hub_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> WritableHub:
    """The hub that huggingface_hub talks to, with somebody logged in."""
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


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Class folders, not cut into parts: twenty dark cats and twenty light dogs of 8x8 pixels."""
    random = np.random.default_rng(0)
    for label, brightness in (("cat", 60), ("dog", 190)):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(20):
            pixels = brightness + random.integers(-40, 40, size=(8, 8, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pets" / label / f"{number:02d}.png")
    return tmp_path / "pets"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Class folders: 24 dark cats, 16 light dogs and 12 red apples of 72x80 pixels; two cats are copies."""
    random = np.random.default_rng(0)
    folder = tmp_path / "photographs"
    for label, colour, count in (("apple", (180, 60, 60), 12), ("cat", (70, 70, 70), 24), ("dog", (180, 180, 180), 16)):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = random.normal(colour, 20, (72, 80, 3)) + random.normal(0, 25)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / label / f"{number:02d}.png")
    shutil.copy(folder / "cat" / "00.png", folder / "cat" / "01.png")
    return folder


@pytest.fixture
def usual_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Random weights in the places of those that are compared: nano models of ours as Cards, and a network of timm's.

    Their files are in the cache, and all caches are below `tmp_path`.
    """
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')

    from mixlab.studies.comparing import published
    from mixlab.training import features
    from mixlab.zoo import cards, source
    from mixlab.zoo.build import create_model
    from mixlab.zoo.cards import Card, CardSource, Expected
    from mixlab.zoo.sizes import find_size

    made = []
    for family in ("mixer", "convmixer", "davit"):
        size = find_size(f"{family}_nano")
        model = create_model(size.name)
        place = tmp_path / "cache" / "weights" / f"{size.name}.test" / "weights.safetensors"
        place.parent.mkdir(parents=True)
        save_file(model.state_dict(), place)
        made.append(
            Card(
                name=f"{size.name}.test",
                size=size.name,
                family=family,
                config={**size.config, "classes": model.config.classes},
                parameters=size.parameters,
                macs=size.macs,
                paper=size.paper,
                labels="imagenet-1k",
                licence="",
                provenance=f"Random weights of a {family}.",
                preprocess={"image_size": [32, 32], "resize": "shorter_side", "crop_fraction": 0.9}
                | {"interpolation": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
                sources=(CardSource("url", "http://127.0.0.1:9/weights", place.name, "mixlab", "unknown"),),
                expected=(Expected("top1", 50.0, "nobody", "ImageNet-1k validation"),),
            )
        )
    hub = tmp_path / "hub"
    hub.mkdir()
    save_file(timm.create_model("test_resnet").state_dict(), hub / "model.safetensors")
    monkeypatch.setattr(cards, "_cards", lambda: tuple(made))
    monkeypatch.setattr(published, "CNN", "timm:test_resnet.r160_in1k")
    monkeypatch.setattr(source, "cached_weights", {"timm/test_resnet.r160_in1k": hub}.get)
    for module in (source, features):
        monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    return [*(card.name for card in made), published.CNN]
