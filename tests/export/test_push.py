"""Uploads to a fake hub on loopback: the uploaded files, and an error message for every refusal."""

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


def test_all_files_are_uploaded_and_the_url_is_returned(writable_hub: WritableHub, folder: Path):
    assert push(folder, "me/mine", private=False) == f"{writable_hub.address}/me/mine"
    assert writable_hub.files == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert writable_hub.public == {"me/mine"}


def test_a_private_repository_is_private_before_the_upload(writable_hub: WritableHub, folder: Path):
    push(folder, "me/mine", private=True)
    assert (writable_hub.private, writable_hub.public) == ({"me/mine"}, set())
    assert set(writable_hub.files) == {"README.md", "model.safetensors"}


def test_a_second_push_replaces_the_files(writable_hub: WritableHub, folder: Path):
    push(folder, "me/mine", private=False)
    (folder / "model.safetensors").write_bytes(b"better")
    push(folder, "me/mine", private=False)
    assert writable_hub.files["model.safetensors"] == b"better"


def test_private_is_refused_for_a_public_repository(writable_hub: WritableHub, folder: Path):
    writable_hub.public.add("me/mine")
    with pytest.raises(
        UserError, match=r"me/mine already exists on the hub and is public, so nothing was uploaded.*give another name"
    ):
        push(folder, "me/mine", private=True)
    assert writable_hub.files == {}


@pytest.mark.parametrize(
    ("path", "status", "pattern"),
    [
        ("/api/repos/create", 401, "rejected the login of this machine: run `hf auth login`"),
        (
            "/api/repos/create",
            403,
            "has no write access to me/mine on the hub: run `hf auth login` with a token that has",
        ),
        ("/api/models/me/mine/commit", 403, "has no write access to me/mine"),
        ("/api/validate-yaml", 400, 'me/mine .*"license" must be one of'),
        ("/api/repos/create", 500, "The hub refused me/mine"),
    ],
)
def test_a_refusal_is_reported_with_the_command_to_upload_later(
    writable_hub: WritableHub, folder: Path, path: str, status: int, pattern: str
):
    writable_hub.refuse[path] = (status, '"license" must be one of apache-2.0, mit')
    with pytest.raises(UserError, match=pattern) as raised:
        push(folder, "me/mine", private=False)
    assert str(raised.value).endswith(f"once this is fixed, upload it with `hf upload me/mine {folder}`.")
    assert "\n" not in str(raised.value)
    assert (folder / "model.safetensors").exists()


def test_without_a_network_the_error_says_that_the_folder_was_written(
    writable_hub: WritableHub, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"could not be uploaded to http://127\.0\.0\.1:9 .*The folder was written"):
        push(folder, "me/mine", private=False)


@pytest.mark.parametrize("name", ["mine", "me/my/mine", "me/", "me/my model", "/"])
def test_invalid_repository_names_are_refused(name: str):
    with pytest.raises(UserError, match="is not a valid name on the hub: it must be owner/name"):
        require_repository_name(name)


def test_a_login_is_required(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    with pytest.raises(UserError, match="This machine is not logged in to the hub: run `hf auth login`"):
        require_login()
