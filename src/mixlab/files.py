"""Atomic writing of files and folders, and errors of the operating system as user errors.

After a failed write, either the old content is left or nothing.
"""

import errno
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from mixlab.errors import UserError

_REASONS = {
    errno.EACCES: "you have no permission: change the permissions of the path or choose another one",
    errno.EPERM: "you have no permission: change the permissions of the path or choose another one",
    errno.ENAMETOOLONG: "its name is too long: choose a shorter one",
    errno.ELOOP: "its symbolic links form a loop: remove one of them",
    errno.ENOTDIR: "a component of the path is a file, not a folder: choose another path",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "your disk quota is used up: free some space and run again",
    errno.EFBIG: "it is too large for the disk or for your limit (ulimit -f): choose another disk or raise the limit",
    errno.EIO: "the disk reports an input/output error: check the disk or choose another one",
    errno.ESTALE: "the file or its network drive was replaced while it was used: run again",
    errno.ENOTCONN: "its network drive is not connected: mount it again and run again",
}
"""What the operating system refuses because of the machine, its disks or their permissions, with the way out."""

_WRITE_REASONS = _REASONS | {errno.EEXIST: _REASONS[errno.ENOTDIR]}
_NO_ANSWER = "its network drive does not answer: check the connection and run again"
_READ_REASONS = _REASONS | {errno.ETIMEDOUT: _NO_ANSWER, errno.EHOSTDOWN: _NO_ANSWER, errno.EHOSTUNREACH: _NO_ANSWER}
"""A download inside `atomic_file` has the last ones, too, because of its server."""


class WriteError(UserError):
    """Raised when `path` can't be written, with the `reason` and a way to fix it."""

    def __init__(self, path: Path, reason: str):
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} could not be written: {self.reason}."


@contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about writing `path` that the user can fix into a WriteError; other errors pass through."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WRITE_REASONS:
            raise
        raise WriteError(path, _WRITE_REASONS[error.errno]) from error
    except WriteError as error:  # raised for a temporary file inside `path`: report `path` instead
        raise WriteError(path, error.reason) from error


def create_file(file: Path, content: bytes) -> bool:
    """Create `file` with its content, atomically, and return whether it did not exist. Its folder must exist."""
    draft = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    draft.write_bytes(content)
    try:
        os.link(draft, file)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        try:
            with file.open("xb") as opened:
                opened.write(content)
        except FileExistsError:
            return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def require_writable(path: Path) -> None:
    """Raises WriteError if nothing can be created at `path`. For commands that compute for long before they write."""
    with translate_write_errors(path):
        existing = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
        tempfile.TemporaryDirectory(dir=existing).cleanup()


def read_reason(error: OSError) -> str | None:
    """Why the operating system refuses to read a file, with the way out; None for an error that has another cause."""
    return _READ_REASONS.get(error.errno or 0)


def read_cached_json(file: Path) -> Any | None:
    """The content of a JSON file in the cache; None if it is missing or damaged, so that it is made again."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@contextmanager
def translate_read_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about reading `path` that the user can fix into a UserError; other errors pass through.

    While a file is read, errors of its disk have no file name.
    """
    try:
        yield
    except OSError as error:
        if (reason := read_reason(error)) is None:
            raise
        raise UserError(f"{path} can't be read: {reason}.") from error


@contextmanager
def translate_access_errors() -> Iterator[None]:
    """Turn an OSError about a path that the operating system refuses into a UserError with the path.

    Only an error that names a file and has one of the reasons in this module is translated, because the user can change
    its cause: permissions, names, links or disks. Everything else passes through, because it is an error of mixlab: a
    file that is missing, exists already or is a folder should have been checked, and an error without a file name
    concerns a pipe, a process or a file that is already open. `translate_read_errors` and `translate_write_errors` add
    the path where one is open.
    """
    try:
        yield
    except OSError as error:
        reason = read_reason(error)
        if reason is None or not isinstance(error.filename, str | bytes):
            raise
        raise UserError(f"{os.fsdecode(error.filename)} can't be accessed: {reason}.") from error


@contextmanager
def create_parents(path: Path) -> Iterator[None]:
    """Create the parent folders of `path`. On failure, remove those that were created and are still empty."""
    created = [folder for folder in path.parents if not folder.exists()]
    try:
        with translate_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in created:
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file next to `path` to write to. It replaces `path` on success and is removed on failure."""
    with translate_write_errors(path), create_parents(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path` to fill. It is renamed to `path`, which must not exist, on success.

    On failure it is removed.
    """
    with translate_write_errors(path), create_parents(path):
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
        try:
            yield temporary
            temporary.chmod(0o755)
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically as UTF-8. Bytes of a file name that are not UTF-8 are written as JSON escapes."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as strict JSON. Raises ValueError for NaN and infinity, which JSON can't represent."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def cache_folder() -> Path:
    """The user's cache folder for downloaded data and weights."""
    return Path(platformdirs.user_cache_dir("mixlab", appauthor=False))
