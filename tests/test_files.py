"""Files and folders are written completely or not at all, and write errors are user errors."""

import errno
import json
import os
import re
from pathlib import Path

import pytest

from mixlab.errors import UserError
from mixlab.files import (
    WriteError,
    atomic_file,
    atomic_folder,
    create_parents,
    read_cached_json,
    require_writable,
    translate_access_errors,
    translate_read_errors,
    write_json,
    write_text,
)


def test_writing_replaces_the_old_file(tmp_path: Path):
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "neu, größer")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "neu, größer"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_file_names_that_are_not_utf_8_survive_json_and_can_be_written_to_text(tmp_path: Path):
    name = os.fsdecode(b"caf\xe9.png")
    write_json(tmp_path / "a.json", {"train": [name]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"train": [name]}
    write_text(tmp_path / "a.html", f"<p>{name}</p>")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == r"<p>caf\udce9.png</p>"


def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary_file(tmp_path: Path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path):
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "a.txt").write_text("a")
        assert not (tmp_path / "out").exists()
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "a.txt"]


def test_a_failed_folder_and_its_new_parents_are_removed(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "a/b/out") as temporary:
        (temporary / "a.txt").write_text("a")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_new_parents_with_other_content_are_not_removed(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), create_parents(tmp_path / "a/b/out"):
        (tmp_path / "a/other").touch()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "other"]


def test_existing_parents_are_not_removed(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "mine/new/a.txt"):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_json_with_a_nan_is_refused_and_not_written(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_json_keeps_non_ascii_text(tmp_path: Path):
    write_json(tmp_path / "a.json", {"class": "고양이"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "고양이" in text and json.loads(text) == {"class": "고양이"}


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "the disk is full: free some space and run again."),
        (errno.EROFS, "the disk is read-only: choose another folder."),
        (errno.EACCES, "you have no permission: change the permissions of the path or choose another one."),
        (errno.EIO, "the disk reports an input/output error: check the disk or choose another one."),
        (errno.ENOTCONN, "its network drive is not connected: mount it again and run again."),
    ],
)
def test_write_errors_are_user_errors(tmp_path: Path, code: int, sentence: str):
    with pytest.raises(UserError) as caught, atomic_file(tmp_path / "new/a.txt"):
        raise OSError(code, os.strerror(code))
    assert str(caught.value) == f"{tmp_path}/new/a.txt could not be written: {sentence}"
    assert list(tmp_path.iterdir()) == []


def test_a_write_error_inside_a_folder_names_the_folder(tmp_path: Path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        pytest.raises(UserError) as caught,
        atomic_folder(tmp_path / "out") as temporary,
        atomic_file(temporary / "report.html"),
    ):
        raise full
    assert str(caught.value).startswith(f"{tmp_path}/out could not be written: the disk is full")


def test_a_path_through_a_file_is_a_user_error(tmp_path: Path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match="a component of the path is a file, not a folder: choose another path"):
        write_text(tmp_path / "a.txt/b.txt", "")


@pytest.mark.parametrize("content", ["", '{"a": ', "\x00"])
def test_a_missing_or_damaged_file_of_the_cache_is_none(tmp_path: Path, content: str):
    assert read_cached_json(tmp_path / "a.json") is None
    (tmp_path / "a.json").write_text(content)
    assert read_cached_json(tmp_path / "a.json") is None
    write_json(tmp_path / "a.json", {"a": 1})
    assert read_cached_json(tmp_path / "a.json") == {"a": 1}


def test_a_path_can_be_tested_before_it_is_written(tmp_path: Path):
    require_writable(tmp_path)
    require_writable(tmp_path / "new" / "folder")
    (tmp_path / "a.txt").touch()
    with pytest.raises(WriteError, match="a component of the path is a file"):
        require_writable(tmp_path / "a.txt" / "new" / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("code", [errno.EBADF, errno.ETIMEDOUT], ids=errno.errorcode.get)
def test_other_os_errors_are_not_translated(tmp_path: Path, code: int):
    with pytest.raises(OSError, match=os.strerror(code)), atomic_file(tmp_path / "a.txt"):
        raise OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.EACCES, "you have no permission: change the permissions of the path or choose another one."),
        (errno.EPERM, "you have no permission: change the permissions of the path or choose another one."),
        (errno.ENAMETOOLONG, "its name is too long: choose a shorter one."),
        (errno.ELOOP, "its symbolic links form a loop: remove one of them."),
        (errno.ENOTDIR, "a component of the path is a file, not a folder: choose another path."),
        (errno.EROFS, "the disk is read-only: choose another folder."),
        (errno.ENOSPC, "the disk is full: free some space and run again."),
        (errno.EDQUOT, "your disk quota is used up: free some space and run again."),
        (
            errno.EFBIG,
            "it is too large for the disk or for your limit (ulimit -f): choose another disk or raise the limit.",
        ),
        (errno.EIO, "the disk reports an input/output error: check the disk or choose another one."),
        (errno.ESTALE, "the file or its network drive was replaced while it was used: run again."),
        (errno.ENOTCONN, "its network drive is not connected: mount it again and run again."),
        (errno.ETIMEDOUT, "its network drive does not answer: check the connection and run again."),
        (errno.EHOSTDOWN, "its network drive does not answer: check the connection and run again."),
        (errno.EHOSTUNREACH, "its network drive does not answer: check the connection and run again."),
    ],
    ids=errno.errorcode.get,
)
@pytest.mark.parametrize("path", ["photos/a.png", b"photos/a.png"])
def test_a_path_that_the_system_refuses_is_a_user_error(path: str | bytes, code: int, sentence: str):
    whole = f"^photos/a.png can't be accessed: {re.escape(sentence)}$"
    with pytest.raises(UserError, match=whole), translate_access_errors():
        raise OSError(code, os.strerror(code), path)


def test_an_error_while_a_file_is_read_has_no_file_name_and_gets_one():
    with (
        pytest.raises(UserError, match=r"^a\.csv can't be read: the file or its network drive was replaced while"),
        translate_read_errors(Path("a.csv")),
    ):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EISDIR, errno.EBADF], ids=errno.errorcode.get)
def test_errors_that_are_not_of_a_disk_pass_while_a_file_is_read(code: int):
    with pytest.raises(OSError, match=os.strerror(code)), translate_read_errors(Path("a.csv")):
        raise OSError(code, os.strerror(code))


@pytest.mark.parametrize("name", ["n" * 300, "loop/a", "file/a"])
def test_paths_that_the_operating_system_really_refuses(tmp_path: Path, name: str):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"^{tmp_path}/{name} can't be accessed: "), translate_access_errors():
        (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    "error",
    [
        OSError("truncated"),
        OSError(errno.EACCES, "a socket without a file name"),
        OSError(errno.EIO, "an open file", 3),
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a.png"),
        FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), "a.png"),
        IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), "a.png"),
        BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)),
    ],
    ids=repr,
)
def test_errors_of_mixlab_are_not_access_errors(error: OSError):
    with pytest.raises(OSError) as caught, translate_access_errors():
        raise error
    assert caught.value is error
