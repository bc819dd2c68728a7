"""The files below a folder, each of them once, and what their names say: images, junk, and names in normal form."""

import os
import unicodedata
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from mixlab.errors import UserError
from mixlab.files import read_reason
from mixlab.report.text import join_words, pluralize

_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif"}
_SUFFIXES |= {".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm"}


@dataclass(frozen=True)
class FileType:
    """What a folder is searched for.

    `kind`: the word before the colon of the dataset's name.
    `noun`, `singular`: of one file, without and with an article.
    `examples`: of suffixes.
    """

    kind: str
    noun: str
    singular: str
    examples: str
    suffixes: frozenset[str]

    def includes(self, path: PurePath) -> bool:
        """Whether a file has one of the suffixes."""
        return path.suffix.lower() in self.suffixes


IMAGE_FILES = FileType("folder", "image", "an image", ".jpg, .png, .webp ...", frozenset(_SUFFIXES))
SOUND_FILES = FileType("audio", "sound", "a sound", ".wav, .flac, .ogg", frozenset({".wav", ".flac", ".ogg", ".oga"}))

TEXT_FILES = FileType("text", "text", "a text", ".txt", frozenset({".txt"}))

_JUNK = {"__macosx", "thumbs.db", "desktop.ini"}  # and every name that begins with a dot


@dataclass(frozen=True)
class FilesBelow:
    """The files in a folder and its subfolders, sorted by path. Links are followed; junk files are ignored.

    `images`, `others`: the files with and without a suffix of the file type.
    `repeated`: links to a file or folder that is included under another path, or to a folder around this one.
    """

    images: list[Path]
    others: list[Path]
    repeated: list[Path]


def files_below(folder: Path, file_type: FileType = IMAGE_FILES) -> FilesBelow:
    """List the files below a folder. Raises UserError if a folder can't be listed."""
    real_folder = Path(os.path.realpath(folder))
    visited = {os.fspath(outer) for outer in real_folder.parents}
    folders, folder_links, file_links = [os.fspath(folder)], deque[str](), list[str]()
    path_of: dict[str, str] = {}  # path without links -> path
    repeated: list[str] = []
    while folders or folder_links:
        path = folders.pop() if folders else folder_links.popleft()
        real_path = os.path.realpath(path)
        if real_path in visited:
            repeated.append(path)
            continue
        visited.add(real_path)
        for entry in entries(path):
            if is_folder(entry):
                (folder_links if entry.is_symlink() else folders).append(entry.path)
            elif entry.is_symlink():
                file_links.append(entry.path)
            else:
                path_of[os.path.join(real_path, entry.name)] = entry.path  # noqa: PTH118  a Path is slower
    repeated += [path for path in file_links if path_of.setdefault(os.path.realpath(path), path) != path]
    images: list[Path] = []
    others: list[Path] = []
    for file in sorted(map(Path, path_of.values())):
        (images if file_type.includes(file) else others).append(file)
    return FilesBelow(images, others, repeated=sorted(map(Path, repeated)))


def entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """The entries of a folder without junk, sorted by name. Raises UserError if it can't be listed."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not is_junk(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        reason = read_reason(error) or f"{error.strerror}: give another folder"
        raise UserError(f"{folder} can't be listed: {reason}.") from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; False for a link that can't be followed."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # noqa: PTH112  Path raises OSError


def leads_around(entry: os.DirEntry[str], folder: Path) -> bool:
    """Whether an entry is a link to `folder` or to a folder around it."""
    return entry.is_symlink() and Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(entry.path))


def is_broken_link(path: str | Path) -> bool:
    """Whether a path is a link to a file that does not exist."""
    try:
        os.stat(path)  # noqa: PTH116
    except PermissionError:
        return False
    except OSError:  # it does not exist, or it is a link to itself
        return True
    return False


def repeated_note(repeated: Sequence[str]) -> str:
    """The note about links that were skipped because of `FilesBelow.repeated`."""
    return (
        f"Skipped because they lead to a file or folder that is already included: {pluralize(len(repeated), 'link')} "
        f"({join_words(repeated)})."
    )


def is_image(path: PurePath) -> bool:
    """Whether a file has the suffix of an image format."""
    return IMAGE_FILES.includes(path)


def suffix_or_none(path: PurePath) -> str:
    """The suffix in lower case, or "no suffix"."""
    return path.suffix.lower() or "no suffix"


def is_junk(name: str) -> bool:
    """Whether a name is hidden or belongs to a file that an operating system creates."""
    return name[0] == "." or name.lower() in _JUNK


def normalize_name(name: str) -> str:
    """A file name in Unicode normal form C, independent of the operating system. Invalid UTF-8 is escaped."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))
