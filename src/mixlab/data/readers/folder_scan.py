"""Listing of image folders: the images of each split and class in a stable order, and what was skipped."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from mixlab.data.dataset import Sample
from mixlab.errors import UserError
from mixlab.report.text import pluralize

SPLIT_FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""Folder names of splits, in lower case -> the splits."""

_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif"}
_SUFFIXES |= {".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm"}

_JUNK = {"__macosx", "thumbs.db", "desktop.ini"}  # and every name that begins with a dot


@dataclass
class FolderScan:
    """The contents of an image folder.

    Files are recognised as images by their suffix. The name of an image is its path relative to `root`, in Unicode
    normal form C and with slashes.

    `splits`: the images of each split, sorted by name; all are in "train" if the folder has no splits.
    `unused_folders`: folders next to those of the splits.
    `empty_folders`: folders that would be classes but have no images.
    `images_outside_classes`: the number of images that are not in a class folder.
    `other_files`: the number of files that are not images, per suffix.
    """

    root: Path
    splits: dict[str, list[Sample]] = field(default_factory=dict)
    unused_folders: list[str] = field(default_factory=list)
    empty_folders: list[str] = field(default_factory=list)
    images_outside_classes: int = 0
    other_files: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        return f"folder:{self.root}"

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind of file or folder that was skipped."""
        notes = [f"Skipped the folder {name}: it has no images." for name in self.empty_folders]
        notes += [f"Skipped the folder {name}: it is not train, val or test." for name in self.unused_folders]
        if self.images_outside_classes:
            notes.append(
                f"Skipped because they are not in a class folder: {pluralize(self.images_outside_classes, 'image')}."
            )
        if self.other_files:
            suffixes = ", ".join(sorted(self.other_files))
            notes.append(
                f"Skipped because they are not images: {pluralize(self.other_files.total(), 'file')} ({suffixes})."
            )
        return tuple(notes)


def scan(root: Path) -> FolderScan:
    """List the images of a folder. Raises UserError if it does not exist or has no images in class folders."""
    contents = FolderScan(root)
    if root.is_file():
        raise UserError(
            f"{contents.name} is a file: give a folder with a folder of images for each class. Unpack archives first."
        )
    if not root.is_dir():
        raise UserError(
            f"{contents.name} does not exist ({root.absolute()}): give a folder with a folder of images for each class."
        )
    for folder, split in _split_folders(contents):
        for entry in _entries(folder):
            if entry.is_dir():
                _add_class(contents, split, entry)
            elif is_image(entry):
                contents.images_outside_classes += 1
            else:
                contents.other_files[suffix_or_none(entry)] += 1
    if not contents.splits and contents.images_outside_classes:
        raise UserError(
            f"{contents.name} has {pluralize(contents.images_outside_classes, 'image')} but no class folders: the "
            "class of an image is the folder that contains it, so move the images of each class into a folder."
        )
    if not contents.splits:
        raise UserError(
            f"{contents.name} has no images: add a folder of images (.jpg, .png, .webp ...) for each class."
        )
    for images in contents.splits.values():
        images.sort(key=lambda image: image.name)
    return contents


def images_below(folder: Path) -> list[Path]:
    """Every image in a folder and its subfolders, sorted by path."""
    return sorted(filter(is_image, _files_below(folder)))


def _split_folders(contents: FolderScan) -> list[tuple[Path, str]]:
    """The folders that contain class folders, and their splits.

    A folder named "test" is a class, not a split, if it contains no folders and has other folders next to it.
    """
    folders = [entry for entry in _entries(contents.root) if entry.is_dir()]
    splits = [
        (folder, SPLIT_FOLDERS[folder.name.lower()]) for folder in folders if folder.name.lower() in SPLIT_FOLDERS
    ]
    others = [folder.name for folder in folders if folder.name.lower() not in SPLIT_FOLDERS]
    if not splits or (others and not any(entry.is_dir() for folder, _ in splits for entry in _entries(folder))):
        return [(contents.root, "train")]
    contents.unused_folders += sorted(map(normalize_name, others))
    return splits


def _add_class(contents: FolderScan, split: str, folder: Path) -> None:
    label = normalize_name(folder.name)
    samples = []
    for path in _files_below(folder):
        if is_image(path):
            samples.append(Sample(label, normalize_name(path.relative_to(contents.root).as_posix()), path))
        else:
            contents.other_files[suffix_or_none(path)] += 1
    if samples:
        contents.splits.setdefault(split, []).extend(samples)
    else:
        contents.empty_folders.append(normalize_name(folder.relative_to(contents.root).as_posix()))


def is_image(path: PurePath) -> bool:
    """Whether a file has the suffix of an image format."""
    return path.suffix.lower() in _SUFFIXES


def suffix_or_none(path: PurePath) -> str:
    """The suffix in lower case, or "no suffix"."""
    return path.suffix.lower() or "no suffix"


def _files_below(folder: Path) -> Iterator[Path]:
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _files_below(entry)
        else:
            yield entry


def _entries(folder: Path) -> list[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} can't be listed ({error.strerror}): change its permissions or remove it.") from error
    return [entry for entry in entries if not is_junk(entry.name)]


def is_junk(name: str) -> bool:
    """Whether a name is hidden or belongs to a file that an operating system creates."""
    return name[0] == "." or name.lower() in _JUNK


def normalize_name(name: str) -> str:
    """A file name in Unicode normal form C, independent of the operating system. Invalid UTF-8 is escaped."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))
