"""The classes of masks: from classes.txt, from a known data set, or from the values in the masks.

classes.txt has a line for each stored value, from 0 on: the name of a class, or "ignored" for pixels that are neither
learned nor counted. With colours, each name is followed by red, green and blue: road 128 64 128.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixlab.data.mask_file import IGNORED, MAX_CLASSES, Colour, MaskCoding, read_stored
from mixlab.errors import UserError

FILE = "classes.txt"
_IGNORED_NAME = "ignored"
_LINE = re.compile(r"(?P<name>.*?)(?:[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3}))?")

CAMVID = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),
    _IGNORED_NAME,
)
"""The 11 classes of CamVid as in SegNet (Badrinarayanan et al. 2015); the value 11 is void."""

VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The classes of PASCAL VOC; the value 255 is void."""


@dataclass(frozen=True)
class MaskClasses:
    """The names of the classes, and how masks store them."""

    names: tuple[str, ...]
    coding: MaskCoding


def mask_classes(root: Path, known: tuple[str, ...] | None, masks: Sequence[Path]) -> MaskClasses:
    """The classes of masks.

    root   the folder that may have classes.txt
    known  the lines of classes.txt for a layout with known classes
    masks  all mask files, which are read if nothing else says what the classes are

    Raises UserError if classes.txt is wrong or there are too many classes.
    """
    file = root / FILE
    if file.is_file():
        return _of_lines([line for line in _lines(file) if line and not line.startswith("#")], str(file))
    return _of_lines(known, str(root)) if known else _of_values(root, masks)


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} can't be read ({error}): write one class per line, in UTF-8.") from error


def _of_lines(lines: Sequence[str], source: str) -> MaskClasses:
    parsed = [_LINE.fullmatch(line) for line in lines]
    names = [match["name"] if match else line for match, line in zip(parsed, lines, strict=True)]
    colours = [_colour(match) for match in parsed if match and match[2]]
    if colours and len(colours) != len(names):
        raise UserError(
            f"{source} has a colour for {len(colours)} of {len(names)} classes: give every line red, green and blue, "
            "or none."
        )
    classes = [name for name in names if name != _IGNORED_NAME]
    _check_names(classes, source)
    indices = [IGNORED if name == _IGNORED_NAME else classes.index(name) for name in names]
    of_colour = dict(zip(colours, indices, strict=True)) if colours else {}
    if len(of_colour) < len(colours) or any(value > 255 for colour in colours for value in colour):
        raise UserError(f"{source} has a colour twice, or a value above 255: give each class a colour of its own.")
    return MaskClasses(
        tuple(classes), MaskCoding(len(classes), {IGNORED: IGNORED} | dict(enumerate(indices)), of_colour)
    )


def _colour(match: re.Match[str]) -> Colour:
    return int(match[2]), int(match[3]), int(match[4])


def _of_values(root: Path, masks: Sequence[Path]) -> MaskClasses:
    values = np.unique(np.concatenate([np.unique(read_stored(mask, colours={})) for mask in masks])).astype(np.int64)
    if (names := [str(value) for value in values.tolist() if value != IGNORED]) == []:
        raise UserError(
            f"{root} has no labelled pixel, because every mask has the value {IGNORED} everywhere: correct the masks, "
            f"or say in {FILE} which class has which value."
        )
    _check_names(names, str(root))
    of_value = {int(name): index for index, name in enumerate(names)}
    return MaskClasses(tuple(names), MaskCoding(len(names), {IGNORED: IGNORED} | of_value, {}))


def _check_names(names: Sequence[str], source: str) -> None:
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f'{source} has the class "{twice[0]}" twice: give each class a name of its own.')
    if not 2 <= len(names) <= MAX_CLASSES:
        raise UserError(
            f"{source} has {len(names):,} different values or names of classes, but a segmentation has 2 to "
            f"{MAX_CLASSES}: if the masks are not class indices, say in {FILE} what they store."
        )
