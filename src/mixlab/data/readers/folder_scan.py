"""What lies in a folder of images: by part and class, in a stable order, and what was left out."""

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
"""What folders of parts are called, in lower case -> the parts."""

_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif"}
_SUFFIXES |= {".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm"}

_JUNK = {"__macosx", "thumbs.db", "desktop.ini"}  # as is everything that begins with a dot


@dataclass
class FolderScan:
    """The images of each part, in the order of their names; where there are no parts, all are "train".

    An image is one by its ending; its name is its path in the folder, composed and with slashes.
    """

    root: Path
    splits: dict[str, list[Sample]] = field(default_factory=dict)
    beside_parts: list[str] = field(default_factory=list)  # folders that are no part
    without_images: list[str] = field(default_factory=list)  # folders that would be classes
    loose: int = 0  # images outside any class's folder
    others: Counter[str] = field(default_factory=Counter)  # files that are no images, by their endings

    @property
    def name(self) -> str:
        return f"folder:{self.root}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, a sentence each."""
        notes = [f"The folder {name} has no images and was left out." for name in self.without_images]
        notes += [f"The folder {name} is none of train, val and test and was left out." for name in self.beside_parts]
        if self.loose:
            notes.append(f"Left out because they lie in no class's folder: {pluralize(self.loose, 'image')}.")
        if self.others:
            endings = ", ".join(sorted(self.others))
            notes.append(f"Left out because they are no images by their names: {self.others.total():,} ({endings}).")
        return tuple(notes)


def scan(root: Path) -> FolderScan:
    tree = FolderScan(root)
    if root.is_file():
        raise UserError(
            f"{tree.name} is a file: unpack it if it is an archive, and give the folder that holds the classes."
        )
    if not root.is_dir():
        raise UserError(
            f"{tree.name} is not there ({root.absolute()}): give the path of a folder that holds a folder of images "
            "for each class."
        )
    for folder, split in _part_folders(tree):
        for entry in _entries(folder):
            if entry.is_dir():
                _add_class(tree, split, entry)
            elif is_image(entry):
                tree.loose += 1
            else:
                tree.others[_ending(entry)] += 1
    if not tree.splits and tree.loose:
        raise UserError(
            f"{tree.name} holds {pluralize(tree.loose, 'image')} but no folders of them: an image's class is the "
            "folder it lies in, so give each class a folder."
        )
    if not tree.splits:
        raise UserError(
            f"{tree.name} holds no images: put a folder of them for each class there (.jpg, .png, .webp ...)."
        )
    for images in tree.splits.values():
        images.sort(key=lambda image: image.name)
    return tree


def images_below(folder: Path) -> list[Path]:
    """Every image in a folder and in those below it, in the order of their paths."""
    return sorted(filter(is_image, _files_below(folder)))


def _part_folders(tree: FolderScan) -> list[tuple[Path, str]]:
    """The folders that hold class folders, and their parts. A class may be named "test": a part has folders inside."""
    folders = [entry for entry in _entries(tree.root) if entry.is_dir()]
    splits = [
        (folder, SPLIT_FOLDERS[folder.name.lower()]) for folder in folders if folder.name.lower() in SPLIT_FOLDERS
    ]
    others = [folder.name for folder in folders if folder.name.lower() not in SPLIT_FOLDERS]
    if not splits or (others and not any(entry.is_dir() for folder, _ in splits for entry in _entries(folder))):
        return [(tree.root, "train")]
    tree.beside_parts += sorted(map(text, others))
    return splits


def _add_class(tree: FolderScan, split: str, folder: Path) -> None:
    label = text(folder.name)
    found = []
    for path in _files_below(folder):
        if is_image(path):
            found.append(Sample(label, text(path.relative_to(tree.root).as_posix()), path))
        else:
            tree.others[_ending(path)] += 1
    if found:
        tree.splits.setdefault(split, []).extend(found)
    else:
        tree.without_images.append(text(folder.relative_to(tree.root).as_posix()))


def is_image(path: PurePath) -> bool:
    return path.suffix.lower() in _SUFFIXES


def _ending(path: Path) -> str:
    return path.suffix.lower() or "no ending"


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
        raise UserError(
            f"{folder} can't be listed ({error.strerror}): change its permissions or take it out."
        ) from error
    return [entry for entry in entries if not is_junk(entry.name)]


def is_junk(name: str) -> bool:
    return name[0] == "." or name.lower() in _JUNK


def text(name: str) -> str:
    """A name as every system shows it: composed (NFC); bytes that are no UTF-8 are written as escapes."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))
