"""A folder pushed to a stand-in for the hub on loopback: what arrives, and every refusal as a sentence."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from loopback import WritableHub
from mixlab.errors import UserError
from mixlab.export.push import push, require_login, require_repository_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlibrary_name: mixlab\n---\n")
    (folder / "model.safetensors").write_bytes(bytes(range(256)))
    return folder


def test_every_file_arrives_and_the_page_is_told(writable_hub: WritableHub, folder: Path):
    assert push(folder, "me/mine", private=False) == f"{writable_hub.address}/me/mine"
    assert writable_hub.files == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert writable_hub.public == {"me/mine"}


def test_what_is_private_is_made_so_before_anything_is_sent(writable_hub: WritableHub, folder: Path):
    push(folder, "me/mine", private=True)
    assert (writable_hub.private, writable_hub.public) == ({"me/mine"}, set())
    assert set(writable_hub.files) == {"README.md", "model.safetensors"}


def test_a_second_push_replaces_the_files(writable_hub: WritableHub, folder: Path):
    push(folder, "me/mine", private=False)
    (folder / "model.safetensors").write_bytes(b"better")
    push(folder, "me/mine", private=False)
    assert writable_hub.files["model.safetensors"] == b"better"


def test_private_is_refused_where_the_repository_is_public_already(writable_hub: WritableHub, folder: Path):
    writable_hub.public.add("me/mine")
    with pytest.raises(UserError, match=r"me/mine is on the hub already and is public.*give another name"):
        push(folder, "me/mine", private=True)
    assert writable_hub.files == {}


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/repos/create", 401, "does not accept the login of this machine: run `hf auth login`"),
        ("/api/repos/create", 403, "may not write to me/mine on the hub: run `hf auth login` with a token that may"),
        ("/api/models/me/mine/commit", 403, "may not write to me/mine"),
        ("/api/validate-yaml", 400, 'me/mine .*"license" must be one of'),
        ("/api/repos/create", 500, "me/mine was refused by the hub"),
    ],
)
def test_a_refusal_is_a_sentence_that_says_where_the_folder_is(
    writable_hub: WritableHub, folder: Path, path: str, status: int, words: str
):
    writable_hub.refuse[path] = (status, '"license" must be one of apache-2.0, mit')
    with pytest.raises(UserError, match=words) as raised:
        push(folder, "me/mine", private=False)
    assert str(raised.value).endswith(f"`hf upload me/mine {folder}` sends it once that is mended.")
    assert "\n" not in str(raised.value)
    assert (folder / "model.safetensors").exists()


def test_without_a_network_the_folder_is_kept(writable_hub: WritableHub, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"could not be sent to http://127\.0\.0\.1:9 .*The folder is kept"):
        push(folder, "me/mine", private=False)


@pytest.mark.parametrize("name", ["mine", "me/my/mine", "me/", "me/my model", "/"])
def test_what_is_no_name_on_the_hub_is_refused(name: str):
    with pytest.raises(UserError, match="is no name on the hub: it is owner/name"):
        require_repository_name(name)


def test_somebody_has_to_be_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    with pytest.raises(UserError, match="Nobody is logged in to the hub on this machine: run `hf auth login`"):
        require_login()
