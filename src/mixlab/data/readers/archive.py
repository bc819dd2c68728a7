"""Random access to files in tar archives. The listing of an archive is made once and cached."""

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
from typing import Any

from mixlab.errors import UserError
from mixlab.files import atomic_file, cache_folder, translate_read_errors, write_text
from mixlab.report.progress import progress

_DECOMPRESSORS = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\x00": lzma.open, b"BZh": bz2.open}
_LABEL_SUFFIXES = (".cls", ".json")  # label files of webdataset; their labels are stored in the listing
_MAX_LABEL_BYTES = 2**16  # a larger file is not read as a label


@dataclass(frozen=True, slots=True)
class InArchive:
    """A file of `size` bytes at byte `offset` of an uncompressed archive."""

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
            raise OSError(f"its archive is truncated: byte {self.offset + len(content):,} is missing")
        return content


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive.

    `label`: the text of a .cls file, or the JSON value of "label" in a .json file; None for other files.
    """

    file: InArchive
    label: Any


def members(path: Path, *, quiet: bool) -> list[Member]:
    """List the files of the archive `path`, in its order. A compressed archive is first unpacked into the cache.

    Raises UserError if `path` does not exist or is not a tar archive.
    """
    try:
        with translate_read_errors(path):
            archive = _uncompressed(path, quiet=quiet)
            listing_file = cache_folder() / "archives" / f"{_key(archive)}-members.json"
            if not listing_file.is_file():
                write_text(listing_file, json.dumps(_list_members(archive, quiet=quiet)))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist ({path.absolute()}): give the path of a tar archive.") from error
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not a tar archive or is damaged ({error}): download or pack it again.") from error
    except IsADirectoryError as error:
        raise UserError(f'{path} is a folder: for the images in it, write "folder:{path}".') from error
    listing = json.loads(listing_file.read_text(encoding="utf-8"))
    return [Member(InArchive(archive, name, offset, size), label) for name, offset, size, label in listing]


def _list_members(archive: Path, *, quiet: bool) -> list[tuple[str, int, int, Any]]:
    listing = []
    places: dict[str, tuple[int, int]] = {}  # offset and size by name, for hard links to earlier files
    with (
        tarfile.open(archive, "r:") as file,
        progress(f"list {archive.name}", total=archive.stat().st_size, quiet=quiet) as advance,
    ):
        for member in file:
            if member.isreg() and not member.issparse():
                places[member.name] = (member.offset_data, member.size)
            elif member.islnk() and member.linkname in places:
                places[member.name] = places[member.linkname]
            else:
                continue
            offset, size = places[member.name]
            has_label = member.name.lower().endswith(_LABEL_SUFFIXES) and size <= _MAX_LABEL_BYTES
            content = file.extractfile(member) if has_label else None
            label = _parse_label(member.name, content.read()) if content else None
            listing.append((member.name, offset, size, label))
            advance(member.size)
    return listing


def _parse_label(name: str, content: bytes) -> Any:
    text = content.decode("utf-8", "backslashreplace")
    if not name.lower().endswith(".json"):
        return text
    try:
        metadata = json.loads(text)
    except ValueError:
        return None
    return metadata.get("label") if isinstance(metadata, dict) else None


def _uncompressed(path: Path, *, quiet: bool) -> Path:
    """`path` itself, or its uncompressed copy in the cache."""
    with path.open("rb") as file:
        first_bytes = file.read(6)
    decompress = next((opener for magic, opener in _DECOMPRESSORS.items() if first_bytes.startswith(magic)), None)
    if decompress is None:
        return path.absolute()
    target = cache_folder() / "archives" / f"{_key(path)}.tar"
    if not target.is_file():
        with decompress(path) as content, atomic_file(target) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(content, file, 2**20)
    return target


def _key(path: Path) -> str:
    """A cache key that changes with the path, size and modification time of an archive."""
    stat = path.stat()
    return hashlib.sha256(repr((str(path.absolute()), stat.st_size, stat.st_mtime_ns)).encode()).hexdigest()[:16]
