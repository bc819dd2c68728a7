"""`zip:FILE`: a zip archive of a folder as described in `mixlab.data.readers.folder`, with or without outer folders.

The images are read from the archive, which is opened for each of them, so that threads and processes can share it.
"""

import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from mixlab.data.dataset import Dataset
from mixlab.data.readers.packed_folder import read_packed_folder
from mixlab.errors import UserError
from mixlab.files import translate_read_errors

_LOCAL_HEADER = struct.Struct("<26xHH")  # the lengths of the name and of the extra field (APPNOTE.TXT, 4.3.7)
_ENCRYPTED, _UTF8 = 0x1, 0x800  # bits of the general purpose flag (APPNOTE.TXT, 4.4.4)


@dataclass(frozen=True, slots=True)
class InZip:
    """A file of `size` bytes in a zip archive, whose local header begins at byte `offset`."""

    archive: Path
    name: str
    offset: int
    packed_size: int
    size: int
    checksum: int  # CRC-32
    deflated: bool

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"

    def read_bytes(self) -> bytes:
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            header = file.read(_LOCAL_HEADER.size)
            file.seek(sum(_LOCAL_HEADER.unpack(header)) if len(header) == _LOCAL_HEADER.size else 0, 1)
            packed = file.read(self.packed_size)
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, self.size) if self.deflated else packed
        except zlib.error as error:
            raise OSError(f"its archive is damaged ({error})") from error
        if len(content) != self.size or zlib.crc32(content) != self.checksum:
            raise OSError("its archive is damaged: the checksum of the file differs")
        return content


def read_zip(path: Path) -> Dataset:
    """Read an archive with the splits that it has.

    Raises UserError if it is not a zip archive, is encrypted, or has no images in class folders.
    """
    try:
        with translate_read_errors(path), ZipFile(path) as archive:
            files = [_in_zip(path.absolute(), info) for info in archive.infolist() if _is_file(info)]
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist ({path.absolute()}): give the path of a zip archive.") from error
    except IsADirectoryError as error:
        raise UserError(f'{path} is a folder: for the images in it, write "folder:{path}".') from error
    except BadZipFile as error:
        raise UserError(f"{path} is not a zip archive or is damaged ({error}): download or pack it again.") from error
    return read_packed_folder("zip", path, [(file.name, file) for file in files])


def _is_file(info: ZipInfo) -> bool:
    return not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16)


def _in_zip(path: Path, info: ZipInfo) -> InZip:
    if info.flag_bits & _ENCRYPTED:
        raise UserError(f"{path} is encrypted: unpack it with its password, and give the folder.")
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise UserError(
            f"{path} has files in a compression that mixlab does not read (method {info.compress_type}): unpack it, "
            "and give the folder, or pack it with deflate."
        )
    return InZip(
        path,
        _file_name(info),
        info.header_offset,
        info.compress_size,
        info.file_size,
        info.CRC,
        deflated=info.compress_type == ZIP_DEFLATED,
    )


def _file_name(info: ZipInfo) -> str:
    """The name with slashes. Without a flag it is in code page 437, but many programs write UTF-8 without the flag."""
    name = info.orig_filename.split("\0")[0].replace("\\", "/")
    if info.flag_bits & _UTF8:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name
