"""Downloads from the hub, tested with a fake hub on loopback."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download

from loopback import Request, Serve, Served
from mixlab.errors import UserError
from mixlab.weights.hub import cached_weights, hub_folder

COMMIT = "c0ffee" + "0" * 34


class Hub:
    """A fake hub that serves model information, the file tree, and the files."""

    def __init__(self, files: dict[str, bytes]):
        self.files = files
        self.error: tuple[int, str] | None = None  # status and X-Error-Code
        self.error_path = ""  # the error is sent only for paths with this end

    def __call__(self, request: Request) -> None:
        path = request.path.partition("?")[0]
        if self.error and path.endswith(self.error_path):
            status, code = self.error
            return request.reply(b"{}", status, X_Error_Code=code)
        if path.startswith("/api/models/owner/name/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(body), "oid": oid(body)} for name, body in self.files.items()
            ]
            return request.reply_json(tree, Content_Type="application/json")
        if path.startswith("/api/models/owner/name"):
            siblings = [{"rfilename": name} for name in self.files]
            facts = {"id": "owner/name", "sha": COMMIT, "siblings": siblings}
            return request.reply_json(facts, Content_Type="application/json")
        name = path.rpartition("/")[2]
        if path.startswith("/owner/name/resolve/") and name in self.files:
            body = self.files[name]
            return request.reply(body, ETag=f'"{oid(body)}"', X_Repo_Commit=COMMIT)
        return request.reply(b"", 404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)


def oid(body: bytes) -> str:
    return hashlib.sha1(body).hexdigest()


StartHub = Callable[..., tuple[Hub, Served]]


@pytest.fixture
def hub(serve: Serve, hub_at: Callable[[str], None]) -> StartHub:
    """Starts a hub with files of the given names. Returns the hub and its server."""

    def start(*names: str) -> tuple[Hub, Served]:
        fake_hub = Hub({name: f"the content of {name}".encode() for name in names})
        server = serve(fake_hub)
        hub_at(server.address)
        return fake_hub, server

    return start


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_only_the_config_and_the_safetensors_are_downloaded(hub: StartHub, capfd: pytest.CaptureFixture[str]) -> None:
    hub("README.md", "config.json", "model.safetensors", "pytorch_model.bin", "model.onnx", "tf_model.h5")
    folder = hub_folder("owner/name")
    assert names(folder) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_text() == "the content of model.safetensors"
    assert "Fetching" not in capfd.readouterr().err


def test_the_second_call_uses_the_cache_without_the_hub(hub: StartHub) -> None:
    _, server = hub("config.json", "model.safetensors")
    folder = hub_folder("owner/name")
    server.stop()
    assert hub_folder("owner/name") == folder


def test_a_repository_without_config_is_cached_as_well(hub: StartHub) -> None:
    _, server = hub("model.safetensors")
    folder = hub_folder("owner/name")
    requests = len(server.requests)
    assert names(hub_folder("owner/name")) == names(folder) == ["model.safetensors"]
    assert len(server.requests) == requests


def test_weights_downloaded_by_another_program_are_found_without_a_config(hub: StartHub) -> None:
    _, server = hub("config.json", "model.safetensors")
    assert cached_weights("owner/name") is None
    file = hf_hub_download("owner/name", "model.safetensors", endpoint=server.address)
    server.stop()
    assert cached_weights("owner/name") == Path(file).parent


def test_shards_are_downloaded_with_their_index_and_a_missing_one_again(hub: StartHub) -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    fake_hub, _ = hub("config.json", "model.safetensors.index.json", *shards, "pytorch_model.bin")
    fake_hub.files["model.safetensors.index.json"] = json.dumps(
        {"weight_map": dict(zip("ab", shards, strict=True))}
    ).encode()
    folder = hub_folder("owner/name")
    assert names(folder) == ["config.json", *shards, "model.safetensors.index.json"]
    (folder / shards[1]).unlink()
    assert names(hub_folder("owner/name")) == ["config.json", *shards, "model.safetensors.index.json"]


def test_the_pickle_is_used_without_safetensors(hub: StartHub) -> None:
    hub("config.json", "pytorch_model.bin", "flax_model.msgpack")
    assert names(hub_folder("owner/name")) == ["config.json", "pytorch_model.bin"]


def test_a_revision_is_downloaded_and_cached_separately(hub: StartHub) -> None:
    _, server = hub("config.json", "model.safetensors")
    folder = hub_folder("owner/name@v2")
    assert any("revision/v2" in path for path in server.asked)
    server.stop()
    assert hub_folder("owner/name@v2") == folder
    with pytest.raises(UserError, match="resolve/main"):
        hub_folder("owner/name")


def test_a_repository_without_weights_is_refused_with_its_files(hub: StartHub) -> None:
    hub("README.md", "config.json", "tf_model.h5")
    with pytest.raises(
        UserError, match=r"neither model.safetensors.*Its files: README\.md, config\.json, tf_model\.h5"
    ):
        hub_folder("owner/name")


@pytest.mark.parametrize(
    ("status", "code", "pattern"),
    [
        (404, "RepoNotFound", "does not exist on the hub or is private.*hf auth login"),
        (401, "RepoNotFound", "does not exist on the hub or is private.*hf auth login"),
        (403, "GatedRepo", "is a gated repository: accept its terms.*hf auth login"),
        (404, "RevisionNotFound", 'has no revision "main"'),
    ],
)
def test_errors_of_the_hub_say_what_to_do(hub: StartHub, status: int, code: str, pattern: str) -> None:
    fake_hub, _ = hub("config.json", "model.safetensors")
    fake_hub.error = (status, code)
    with pytest.raises(UserError, match=pattern):
        hub_folder("owner/name")


def test_a_gate_for_the_files_only_is_reported_as_gated(hub: StartHub) -> None:
    fake_hub, _ = hub("config.json", "model.safetensors")
    fake_hub.error, fake_hub.error_path = (403, "GatedRepo"), "model.safetensors"
    with pytest.raises(UserError, match="is a gated repository"):
        hub_folder("owner/name")


def test_without_the_hub_the_error_names_the_urls_to_download(hub: StartHub) -> None:
    _, server = hub("config.json", "model.safetensors")
    server.stop()
    with pytest.raises(UserError) as caught:
        hub_folder("owner/name")
    for file in ("model.safetensors", "config.json"):
        assert f"{server.address}/owner/name/resolve/main/{file}" in str(caught.value)
    assert "put both into one folder, and give that folder as the model" in str(caught.value)


def test_the_offline_mode_of_the_hub_is_respected(hub: StartHub, monkeypatch: pytest.MonkeyPatch) -> None:
    _, server = hub("config.json", "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"offline.*put both into one folder"):
        hub_folder("owner/name")
    assert server.requests == []


@pytest.mark.parametrize("name", ["owner/name/more", "owner name", ""])
def test_invalid_names_are_refused_with_the_format(hub: StartHub, name: str) -> None:
    hub()
    with pytest.raises(UserError, match="it must be owner/name or owner/name@revision"):
        hub_folder(name)
