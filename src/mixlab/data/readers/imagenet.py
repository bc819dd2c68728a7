"""`imagenet[:PATH]`: ILSVRC 2012 as it is unpacked: `train/n01440764/*.JPEG`, and `val/` with its 50,000 images.

`val/` has a folder for each class, or is flat: then the classes are read from the development kit, from Kaggle's
LOC_val_solution.csv, or from a list of synsets. Names of files are kept, since other labels (ReaL) go by them.
A class is called by its synset. val is the test part; one in a hundred of train is held out as validation.

Russakovsky et al. 2015, "ImageNet Large Scale Visual Recognition Challenge", https://arxiv.org/abs/1409.0575.
"""

import csv
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath

import numpy as np

from mixlab.data.dataset import Dataset, Sample, Split
from mixlab.data.holdout import GroupedSplit
from mixlab.data.readers.data_dirs import data_dirs
from mixlab.data.readers.folder_scan import is_image
from mixlab.errors import UserError, did_you_mean
from mixlab.report.text import pluralize

_INSIDE = ("", "imagenet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
_VALIDATION_SHARE = 1 / 100  # as train[99%:] of big_vision: a tenth would be 128,000 images


def open_imagenet(path: Path | None) -> Dataset:
    """With the three parts that a training needs. Raises UserError."""
    root = _root(path, "train")
    train, test = _train(root), _val(root)
    classes = tuple(sorted({one.label for one in train}))
    if unknown := sorted({one.label for one in test} - set(classes)):
        raise UserError(
            f'{root} has the class "{unknown[0]}" in val but not in train, where it is learned: unpack train again. '
            f"{did_you_mean(unknown[0], classes)}".rstrip()
        )
    everything = Split.of(train, classes)
    counts = np.bincount(everything.labels)
    if counts.min() < 2:
        raise UserError(
            f"{root} has {pluralize(int(counts.min()), 'image')} of {classes[int(counts.argmin())]} in train: training "
            "takes two classes, and two images of each."
        )
    # Every image on its own: to look for equal ones would read most of the 140 GB.
    validation, rest = GroupedSplit(everything, np.arange(len(everything))).cut(_VALIDATION_SHARE)
    splits = {"train": rest.split, "validation": validation, "test": Split.of(test, classes)}
    note = "One in a hundred of train was held out as validation, by class and seeded; val is the test part."
    return Dataset(_name(path), classes, splits, (note,))


def open_imagenet_val(path: Path | None) -> Dataset:
    """val alone, as "test": what a finished model is judged on. Raises UserError."""
    val = _val(_root(path, "val"))
    classes = tuple(sorted({one.label for one in val}))
    return Dataset(_name(path), classes, {"test": Split.of(val, classes)})


def _name(path: Path | None) -> str:
    return f"imagenet:{path.absolute()}" if path else "imagenet"


def _root(path: Path | None, split: str) -> Path:
    if path and not path.is_dir():
        raise UserError(
            f"{_name(path)} is not there: give the folder that holds ILSVRC 2012's train/ and val/, or leave the path "
            "out and set $MIXLAB_DATA to it."
        )
    searched = [path] if path else data_dirs()
    for root in [folder / inside for folder in searched for inside in _INSIDE]:
        if (root / split).is_dir():
            return root
    raise UserError(
        f"{_name(path)} has no {split}/ in {' or '.join(map(str, searched))}: unpack ILSVRC2012_img_train.tar into "
        "train/, a folder for each class, and ILSVRC2012_img_val.tar into val/, and name the folder of both as "
        "imagenet:PATH or in $MIXLAB_DATA."
    )


def _train(root: Path) -> list[Sample]:
    found = _in_class_folders(root / "train", "train")
    if not found:
        raise UserError(
            f"{root / 'train'} has no images in folders of classes: unpack the archives that "
            "ILSVRC2012_img_train.tar consists of, each into a folder of its name."
        )
    return found


def _val(root: Path) -> list[Sample]:
    folder = root / "val"
    if not folder.is_dir():
        raise UserError(f"{root} has no val/, which is the test part: unpack ILSVRC2012_img_val.tar there.")
    if found := _in_class_folders(folder, "val"):
        return found
    files = _images(folder)
    if not files:
        raise UserError(f"{folder} has no images: unpack ILSVRC2012_img_val.tar there.")
    synset = _synsets(root)
    return [Sample(synset(folder / file), f"val/{file}", folder / file) for file in files]


def _in_class_folders(folder: Path, split: str) -> list[Sample]:
    labels = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    return [
        Sample(label, f"{split}/{label}/{file}", folder / label / file)
        for label in labels
        for file in _images(folder / label)
    ]


def _images(folder: Path) -> list[str]:
    """Names alone, since there are 1.28 million."""
    return sorted(file.name for file in os.scandir(folder) if is_image(PurePath(file.name)) and file.name[0] != ".")


_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_KAGGLE = "LOC_val_solution.csv"
_LIST = "imagenet_2012_validation_synset_labels.txt"


def _synsets(root: Path) -> Callable[[Path], str]:
    """From an image of the flat val/ to its synset."""
    around = [root, *list(root.absolute().parents)[:3]]
    kits = [place / kit / "data" for place in around for kit in ("ILSVRC2012_devkit_t12", "devkit", "")]
    for kit in kits:
        if (kit / _TRUTH).is_file() and (kit / "meta.mat").is_file():
            return _by_number(kit / _TRUTH, _synsets_of_numbers(kit / "meta.mat"))
    for place in around:
        if (place / _KAGGLE).is_file():
            return _by_name(place / _KAGGLE)
        if (place / _LIST).is_file():
            return _by_number(place / _LIST, {})
    raise UserError(
        f"{root / 'val'} is flat and nothing tells its images' classes: put ILSVRC2012_devkit_t12/ (unpacked), "
        f"{_KAGGLE} or {_LIST} into {root}, or give val/ a folder for each class."
    )


def _synsets_of_numbers(path: Path) -> dict[str, str]:
    from scipy.io import loadmat

    return {str(row[0]): str(row[1]) for row in np.atleast_1d(loadmat(path, squeeze_me=True)["synsets"])}


def _by_number(path: Path, synsets: Mapping[str, str]) -> Callable[[Path], str]:
    """Line n is about ILSVRC2012_val_n.JPEG: a synset, or a number that has one in `synsets`."""
    lines = path.read_text(encoding="utf-8").split()

    def of(image: Path) -> str:
        number = re.search(r"_(\d+)$", image.stem)
        if number is None or not 0 < int(number[1]) <= len(lines):
            raise UserError(
                f"{image} is not told about in {path}, which has {pluralize(len(lines), 'line')}: the images of val "
                "are called ILSVRC2012_val_00000001.JPEG and so on."
            )
        line = lines[int(number[1]) - 1]
        return synsets.get(line, line)

    return of


def _by_name(path: Path) -> Callable[[Path], str]:
    """Rows of an image's name and its boxes, each of which begins with the synset."""
    with path.open(encoding="utf-8", newline="") as file:
        synsets = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}

    def of(image: Path) -> str:
        if image.stem not in synsets:
            raise UserError(f"{image} is not told about in {path}: take it out, or fetch the table again.")
        return synsets[image.stem]

    return of
