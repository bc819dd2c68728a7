"""Weights from the hub, against a small stand-in for it on loopback."""

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
    """What huggingface_hub asks of the hub: a model's facts, its tree, and its files."""

    def __init__(self, files: dict[str, bytes]):
        self.files = files
        self.training_error: tuple[int, str] | None = None  # status and X-Error-Code
        self.refused_file = ""

    def __call__(self, request: Request) -> None:
        path = request.path.partition("?")[0]
        if self.training_error and (not self.refused_file or path.endswith(self.refused_file)):
            status, code = self.training_error
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
    """Starts a hub with files of these names; returned are it and its server."""

    def start(*names: str) -> tuple[Hub, Served]:
        stand_in = Hub({name: f"the content of {name}".encode() for name in names})
        server = serve(stand_in)
        hub_at(server.address)
        return stand_in, server

    return start


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_only_the_config_and_the_safetensors_come_from_the_hub(
    hub: StartHub, capfd: pytest.CaptureFixture[str]
) -> None:
    hub("README.md", "config.json", "model.safetensors", "pytorch_model.bin", "model.onnx", "tf_model.h5")
    folder = hub_folder("owner/name")
    assert names(folder) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_text() == "the content of model.safetensors"
    assert "Fetching" not in capfd.readouterr().err


def test_a_second_call_works_without_the_hub_and_asks_nothing(hub: StartHub) -> None:
    _, server = hub("config.json", "model.safetensors")
    folder = hub_folder("owner/name")
    server.stop()
    assert hub_folder("owner/name") == folder


def test_a_folder_without_config_is_complete_too_and_known_to_be(hub: StartHub) -> None:
    _, server = hub("model.safetensors")
    folder = hub_folder("owner/name")
    asked = len(server.requests)
    assert names(hub_folder("owner/name")) == names(folder) == ["model.safetensors"]
    assert len(server.requests) == asked


def test_weights_that_another_program_has_fetched_are_found_without_their_config(hub: StartHub) -> None:
    _, server = hub("config.json", "model.safetensors")
    assert cached_weights("owner/name") is None
    file = hf_hub_download("owner/name", "model.safetensors", endpoint=server.address)
    server.stop()
    assert cached_weights("owner/name") == Path(file).parent


def test_shards_come_with_their_index_and_a_missing_one_is_fetched_again(hub: StartHub) -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    stand_in, _ = hub("config.json", "model.safetensors.index.json", *shards, "pytorch_model.bin")
    stand_in.files["model.safetensors.index.json"] = json.dumps(
        {"weight_map": dict(zip("ab", shards, strict=True))}
    ).encode()
    folder = hub_folder("owner/name")
    assert names(folder) == ["config.json", *shards, "model.safetensors.index.json"]
    (folder / shards[1]).unlink()
    assert names(hub_folder("owner/name")) == ["config.json", *shards, "model.safetensors.index.json"]


def test_the_pickle_is_taken_where_there_is_nothing_better(hub: StartHub) -> None:
    hub("config.json", "pytorch_model.bin", "flax_model.msgpack")
    assert names(hub_folder("owner/name")) == ["config.json", "pytorch_model.bin"]


def test_a_revision_is_asked_for_and_cached_under_its_own_name(hub: StartHub) -> None:
    _, server = hub("config.json", "model.safetensors")
    folder = hub_folder("owner/name@v2")
    assert any("revision/v2" in path for path in server.asked)
    server.stop()
    assert hub_folder("owner/name@v2") == folder
    with pytest.raises(UserError, match="resolve/main"):
        hub_folder("owner/name")


def test_a_repository_without_weights_says_what_lies_there(hub: StartHub) -> None:
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
def test_a_refusal_of_the_hub_says_what_to_do(hub: StartHub, status: int, code: str, words: str) -> None:
    stand_in, _ = hub("config.json", "model.safetensors")
    stand_in.training_error = (status, code)
    with pytest.raises(UserError, match=words):
        hub_folder("owner/name")


def test_a_gate_before_the_files_alone_is_the_same_sentence(hub: StartHub) -> None:
    stand_in, _ = hub("config.json", "model.safetensors")
    stand_in.training_error, stand_in.refused_file = (403, "GatedRepo"), "model.safetensors"
    with pytest.raises(UserError, match="is gated on the hub"):
        hub_folder("owner/name")


def test_without_the_hub_the_addresses_to_fetch_are_named(hub: StartHub) -> None:
    _, server = hub("config.json", "model.safetensors")
    server.stop()
    with pytest.raises(UserError) as caught:
        hub_folder("owner/name")
    for file in ("model.safetensors", "config.json"):
        assert f"{server.address}/owner/name/resolve/main/{file}" in str(caught.value)
    assert "put both in a folder, and give that folder as the model" in str(caught.value)


def test_the_hubs_offline_switch_is_heeded(hub: StartHub, monkeypatch: pytest.MonkeyPatch) -> None:
    _, server = hub("config.json", "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"offline.*put both in a folder"):
        hub_folder("owner/name")
    assert server.requests == []


@pytest.mark.parametrize("name", ["owner/name/more", "owner name", ""])
def test_a_name_that_is_none_is_told_the_form(hub: StartHub, name: str) -> None:
    hub()
    with pytest.raises(UserError, match="it is owner/name, or owner/name@revision"):
        hub_folder(name)
