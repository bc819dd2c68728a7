"""Tar archives, read at any place: a listing that is made once, kept in the cache, and an image in an archive."""

import bz2
import gzip
import hashlib
import json
import lzma
import shutil
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from mixlab.errors import UserError
from mixlab.files import atomic_file, cache_folder, write_text
from mixlab.report.progress import progress

_COMPRESSED = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\x00": lzma.open, b"BZh": bz2.open}
_LABELS = (".cls", ".json")  # webdataset's; needed of every sample, so the listing keeps the labels that they say
_LABEL_BYTES = 2**16  # more is no sample's


@dataclass(frozen=True, slots=True)
class InArchive:
    """A file of `size` bytes at `offset` of an uncompressed archive."""

    archive: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"

    def read_bytes(self) -> bytes:
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise OSError(f"its archive ends before it, at {self.offset + len(content):,} bytes")
        return content


@dataclass(frozen=True, slots=True)
class Member:
    """`label`: what a .cls says, and a .json under "label"."""

    file: InArchive
    label: str | None


def members(path: Path, *, quiet: bool) -> list[Member]:
    """The files of an archive, in its order. A compressed one is unpacked into the cache. Raises UserError."""
    try:
        archive = _uncompressed(path, quiet=quiet)
        kept = cache_folder() / "archives" / f"{_key(archive)}-labels.json"
        if not kept.is_file():
            write_text(kept, json.dumps(_listed(archive, quiet=quiet)))
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there ({path.absolute()}): give the path of a tar archive.") from error
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is no tar archive, or is damaged ({error}): fetch or pack it again.") from error
    except IsADirectoryError as error:
        raise UserError(f'{path} is a folder: for the images in it write "folder:{path}".') from error
    listed = json.loads(kept.read_text(encoding="utf-8"))
    return [Member(InArchive(archive, name, offset, size), label) for name, offset, size, label in listed]


def _listed(archive: Path, *, quiet: bool) -> list[tuple[str, int, int, str | None]]:
    listed = []
    with (
        tarfile.open(archive, "r:") as file,
        progress(f"list {archive.name}", total=archive.stat().st_size, quiet=quiet) as advance,
    ):
        for member in file:
            if member.isreg() and not member.issparse():
                says = member.name.lower().endswith(_LABELS) and member.size <= _LABEL_BYTES
                content = file.extractfile(member) if says else None
                label = _label(member.name, content.read()) if content else None
                listed.append((member.name, member.offset_data, member.size, label))
                advance(member.size)
    return listed


def _label(name: str, content: bytes) -> str | None:
    text = content.decode("utf-8", "backslashreplace").strip()
    if not name.lower().endswith(".json"):
        return text
    try:
        said = json.loads(text)
    except ValueError:
        return None
    label = said.get("label") if isinstance(said, dict) else None
    return str(label).strip() if isinstance(label, str | int) else None


def _uncompressed(path: Path, *, quiet: bool) -> Path:
    """`path`, or what it holds, in the cache."""
    with path.open("rb") as file:
        beginning = file.read(6)
    opened = next((opened for magic, opened in _COMPRESSED.items() if beginning.startswith(magic)), None)
    if opened is None:
        return path.absolute()
    target = cache_folder() / "archives" / f"{_key(path)}.tar"
    if not target.is_file():
        with opened(path) as content, atomic_file(target) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(content, file, 2**20)
    return target


def _key(path: Path) -> str:
    """What tells an archive from another, and from itself as it was before a change."""
    facts = path.stat()
    return hashlib.sha256(repr((str(path.absolute()), facts.st_size, facts.st_mtime_ns)).encode()).hexdigest()[:16]
