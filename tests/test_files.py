"""A file or a folder is whole or absent, and a refusal to write is one sentence."""

import errno
import json
import os
from pathlib import Path

import pytest

from mixlab.errors import UserError
from mixlab.files import atomic_file, atomic_folder, create_parents, write_json, write_text


def test_a_file_takes_the_place_of_the_old_one(tmp_path: Path):
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "neu, größer")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "neu, größer"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_s_name_that_is_no_text_is_read_from_json_as_it_was_and_stops_no_page(tmp_path: Path):
    name = os.fsdecode(b"caf\xe9.png")
    write_json(tmp_path / "a.json", {"train": [name]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"train": [name]}
    write_text(tmp_path / "a.html", f"<p>{name}</p>")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == r"<p>caf\udce9.png</p>"


def test_a_file_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_seen_only_when_it_is_whole(tmp_path: Path):
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "a.txt").write_text("a")
        assert not (tmp_path / "out").exists()
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "a.txt"]


def test_a_folder_that_fails_leaves_nothing_and_no_folders_above_it(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "a/b/out") as temporary:
        (temporary / "a.txt").write_text("a")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_folders_above_are_kept_where_something_else_came_into_them(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), create_parents(tmp_path / "a/b/out"):
        (tmp_path / "a/other").touch()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "other"]


def test_folders_that_were_there_before_stay(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "mine/new/a.txt"):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_json_with_a_nan_is_refused_and_not_written(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_json_keeps_every_script(tmp_path: Path):
    write_json(tmp_path / "a.json", {"class": "고양이"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "고양이" in text and json.loads(text) == {"class": "고양이"}


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "the disk is full: free some space and run again."),
        (errno.EROFS, "the disk is read-only: choose another folder."),
        (errno.EACCES, "this user may not write there: choose another folder or change its permissions."),
    ],
)
def test_what_the_system_refuses_to_write_is_one_sentence(tmp_path: Path, code: int, sentence: str):
    with pytest.raises(UserError) as refused, atomic_file(tmp_path / "new/a.txt"):
        raise OSError(code, os.strerror(code))
    assert str(refused.value) == f"{tmp_path}/new/a.txt could not be written: {sentence}"
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_written_into_a_folder_is_told_by_the_folder_s_own_name(tmp_path: Path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        pytest.raises(UserError) as refused,
        atomic_folder(tmp_path / "out") as temporary,
        atomic_file(temporary / "report.html"),
    ):
        raise full
    assert str(refused.value).startswith(f"{tmp_path}/out could not be written: the disk is full")


def test_a_path_through_a_file_is_one_sentence(tmp_path: Path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match="a part of the path is a file, not a folder: choose another path"):
        write_text(tmp_path / "a.txt/b.txt", "")


def test_what_no_user_can_mend_keeps_its_traceback(tmp_path: Path):
    with pytest.raises(OSError, match="Input/output error"), atomic_file(tmp_path / "a.txt"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
