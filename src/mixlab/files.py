"""A file or a folder is written whole or not at all."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from mixlab.errors import UserError

_WRITING_FAILS = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "your disk quota is used up: free some space and run again",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EACCES: "this user may not write there: choose another folder or change its permissions",
    errno.EPERM: "this user may not write there: choose another folder or change its permissions",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another path",
    errno.EEXIST: "a part of the path is a file, not a folder: choose another path",
}


class WriteError(UserError):
    def __init__(self, path: Path, reason: str):
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} could not be written: {self.reason}."


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write `path` into a UserError; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WRITING_FAILS:
            raise
        raise WriteError(path, _WRITING_FAILS[error.errno]) from error
    except WriteError as error:  # a part of `path`, whose name is a passing one
        raise WriteError(path, error.reason) from error


@contextmanager
def create_parents(path: Path) -> Iterator[None]:
    """Make the folders above `path`; at failure those that were made go again, unless something else came into them."""
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        with translate_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a sibling path to write; it takes the place of `path` at success and is removed at failure."""
    with translate_os_errors(path), create_parents(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        part = Path(name)
        try:
            yield part
            part.chmod(0o644)
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a sibling folder to fill; it becomes `path`, which must not exist, at success."""
    with translate_os_errors(path), create_parents(path):
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
        try:
            yield part
            part.chmod(0o755)
            part.replace(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """In UTF-8; the bytes of a file's name that are none become the escapes by which JSON knows them."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Strict JSON: a NaN is refused rather than written, since no other reader knows it."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def cache_folder() -> Path:
    """Where downloaded data and weights are kept for this user."""
    return Path(platformdirs.user_cache_dir("mixlab", appauthor=False))
