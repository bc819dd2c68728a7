"""`folder:PATH`: `train/`, `val/` and `test/` with a folder for each class, or class folders alone.

Folders below a class belong to it. What is missing is cut from what is there (`mixlab.data.cut`): from class folders
alone, a fifth is test and a tenth of the rest validation; of two parts, the held-out one is the test part whatever its
name, and validation is cut from train.
"""

from pathlib import Path

import numpy as np

from mixlab.data.cut import TEST_SHARE, VALIDATION_SHARE, Grouped, grouped
from mixlab.data.dataset import Dataset, Part
from mixlab.data.tree import Found, counted, scan
from mixlab.errors import UserError, did_you_mean


def open_folder(path: Path) -> Dataset:
    """With the three parts that a training needs."""
    tree = scan(path)
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
        return Dataset(_lasting_name(path), classes, parts, tree.notes)
    parts, notes = _cut(tree.name, classes, **parts)
    return Dataset(_lasting_name(path), classes, parts, tree.notes + notes, cut_here=True)


def open_whole_folder(path: Path) -> Dataset:
    """All of its pictures, whatever part they lie in, as "test"."""
    tree = scan(path)
    found = sorted((picture for part in tree.parts.values() for picture in part), key=lambda picture: picture.name)
    classes = _classes(found)
    return Dataset(_lasting_name(path), classes, {"test": _part(found, classes)}, tree.notes)


def _lasting_name(path: Path) -> str:
    return f"folder:{path.absolute()}"


def _classes(found: list[Found]) -> tuple[str, ...]:
    return tuple(sorted({picture.label for picture in found}))


def _part(found: list[Found], classes: tuple[str, ...]) -> Part:
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
        notes.append(
            f"Kept on one side of the cut because their bytes are equal to another's: {counted(copies, 'picture')}."
        )
    if pictures.contradictions:
        notes.append(f"In more than one class, byte for byte: {counted(pictures.contradictions, 'picture')}.")
    return {"train": rest.part, "validation": validation, "test": judged}, tuple(notes)


def _check_enough(name: str, classes: tuple[str, ...], pictures: Grouped, needed: int) -> None:
    different = np.bincount(pictures.labels_of_groups, minlength=len(classes))
    for label, count in zip(classes, different.tolist(), strict=True):
        if count < needed:
            raise UserError(
                f'{name} has {counted(count, "different picture")} of "{label}", and {needed} are needed to hold some '
                "out: add pictures, or take the class's folder out."
            )
