"""`folder:PATH`: `train/`, `val/` and `test/` with a folder for each class, or class folders alone.

Folders below a class belong to it. What is missing is cut from what is there (`mixlab.data.cut`): from class folders
alone, a fifth is test and a tenth of the rest validation; of two parts, the held-out one is the test part whatever its
name, and validation is cut from train.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixlab.data.cut import TEST_SHARE, VALIDATION_SHARE, Grouped, grouped
from mixlab.data.dataset import Dataset, Part
from mixlab.errors import UserError, did_you_mean

_PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}

_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif"}
_SUFFIXES |= {".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm"}

_LITTER = {"__macosx", "thumbs.db", "desktop.ini"}  # as is everything that begins with a dot


@dataclass(frozen=True)
class _Found:
    label: str
    name: str
    path: Path


@dataclass(frozen=True)
class _Tree:
    """The pictures of each part, in the order of their names; where there are no parts, all are "train"."""

    name: str
    parts: dict[str, list[_Found]]
    notes: tuple[str, ...]


def open_folder(path: Path) -> Dataset:
    """With the three parts that a training needs."""
    tree = _scan(path)
    if "train" not in tree.parts:
        raise UserError(
            f"{tree.name} has {' and '.join(tree.parts)} pictures but none to train on: "
            "put those into train/, in a folder for each class."
        )
    classes = _classes(tree.parts["train"])
    if len(classes) == 1:
        raise UserError(
            f'{tree.name} has only one class, "{classes[0]}": telling classes apart takes two, '
            "so put the pictures of another into a folder beside it."
        )
    for name, found in tree.parts.items():
        for label in _classes(found):
            if label not in classes:
                raise UserError(
                    f'{tree.name} has the class "{label}" in its {name} part but not in train, where it is learned: '
                    f"add pictures of it there, or rename its folder. {did_you_mean(label, classes)}".rstrip()
                )
    parts = {name: _part(found, classes) for name, found in tree.parts.items()}
    if len(parts) == 3:
        return Dataset(tree.name, classes, parts, tree.notes)
    parts, notes = _cut(tree.name, classes, **parts)
    return Dataset(tree.name, classes, parts, tree.notes + notes, cut_here=True)


def open_whole_folder(path: Path) -> Dataset:
    """All of its pictures, whatever part they lie in, as "test"."""
    tree = _scan(path)
    found = sorted((picture for part in tree.parts.values() for picture in part), key=lambda picture: picture.name)
    classes = _classes(found)
    return Dataset(tree.name, classes, {"test": _part(found, classes)}, tree.notes)


def _classes(found: list[_Found]) -> tuple[str, ...]:
    return tuple(sorted({picture.label for picture in found}))


def _part(found: list[_Found], classes: tuple[str, ...]) -> Part:
    place = {label: index for index, label in enumerate(classes)}
    return Part(
        names=[picture.name for picture in found],
        labels=np.array([place[picture.label] for picture in found], dtype=np.int64),
        pictures=[picture.path for picture in found],
    )


def _cut(
    name: str, classes: tuple[str, ...], train: Part, validation: Part | None = None, test: Part | None = None
) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Three parts out of one or two, and what was done."""
    pictures, judged = grouped(train), test or validation
    _check_enough(name, classes, pictures, needed=2 if judged else 3)
    if judged is None:
        judged, rest = pictures.cut(TEST_SHARE)
        did = "A fifth of the pictures was held out as test and a tenth of the rest as validation, by class and seeded."
    else:
        rest = pictures
        did = "A tenth of train was held out as validation, by class and seeded."
        if test is None:
            did += " The validation folder, which is all that was held out before, is the test part."
    validation, rest = rest.cut(VALIDATION_SHARE)
    notes = [did]
    if copies := len(train) - len(pictures.labels_of_groups):
        notes.append(f"{copies} pictures have the same bytes as another and were kept on its side of the cut.")
    if pictures.contradictions:
        notes.append(f"{pictures.contradictions} pictures lie, byte for byte, in more than one class.")
    return {"train": rest.part, "validation": validation, "test": judged}, tuple(notes)


def _check_enough(name: str, classes: tuple[str, ...], pictures: Grouped, needed: int) -> None:
    different = np.bincount(pictures.labels_of_groups, minlength=len(classes))
    for label, count in zip(classes, different, strict=True):
        if count < needed:
            raise UserError(
                f'{name} has {count} different pictures of "{label}", and {needed} are needed to hold some out: '
                "add pictures, or take the class's folder out."
            )


def _scan(root: Path) -> _Tree:
    name = f"folder:{root}"
    if root.is_file():
        raise UserError(f"{name} is a file: unpack it if it is an archive, and give the folder that holds the classes.")
    if not root.is_dir():
        raise UserError(
            f"{name} is not there ({root.absolute()}): give the path of a folder that holds a folder of pictures for "
            "each class."
        )
    notes = []
    others: Counter[str] = Counter()
    found: dict[str, list[_Found]] = {}
    loose: list[Path] = []
    for folder, part in _part_folders(root, notes):
        for entry in _entries(folder):
            if entry.is_dir():
                pictures = [path for path in _files_below(entry) if _is_picture(path, others)]
                if not pictures:
                    notes.append(f"The folder {_text(entry.name)} has no pictures and was left out.")
                    continue
                label = _text(entry.name)
                found.setdefault(part, []).extend(
                    _Found(label, _text(path.relative_to(root).as_posix()), path) for path in pictures
                )
            elif _is_picture(entry, others):
                loose.append(entry)
    if not found:
        if loose:
            raise UserError(
                f"{name} holds {len(loose)} pictures but no folders of them: a picture's class is the folder it lies "
                "in, so give each class a folder."
            )
        raise UserError(f"{name} holds no pictures: put a folder of them for each class there (.jpg, .png, .webp ...).")
    if loose:
        notes.append(f"{len(loose)} pictures lie in no class's folder and were left out.")
    if others:
        kinds = ", ".join(sorted(others))
        notes.append(f"{others.total()} files are no pictures by their names ({kinds}) and were left out.")
    for pictures in found.values():
        pictures.sort(key=lambda picture: picture.name)
    return _Tree(name, found, tuple(notes))


def _part_folders(root: Path, notes: list[str]) -> list[tuple[Path, str]]:
    """The folders that hold class folders, and their parts. A class may be named "test": a part has folders inside."""
    folders = [entry for entry in _entries(root) if entry.is_dir()]
    parts = [(folder, _PARTS[folder.name.lower()]) for folder in folders if folder.name.lower() in _PARTS]
    if not parts:
        return [(root, "train")]
    if len(parts) < len(folders):
        if not any(entry.is_dir() for folder, _ in parts for entry in _entries(folder)):
            return [(root, "train")]
        left_out = sorted(folder.name for folder in folders if folder.name.lower() not in _PARTS)
        notes.append(f"Only train, val and test are parts: {', '.join(left_out)} was left out.")
    return parts


def _is_picture(path: Path, others: Counter[str]) -> bool:
    """By its name alone; `others` counts the endings of what is none."""
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES:
        return True
    others[suffix or "no ending"] += 1
    return False


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
    return [entry for entry in entries if entry.name[0] != "." and entry.name.lower() not in _LITTER]


def _text(name: str) -> str:
    """A name as every system shows it: composed (NFC); bytes that are no UTF-8 are written as escapes."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))
