"""`imagenet[:PATH]`: the unpacked ILSVRC 2012, with `train/n01440764/*.JPEG` and the 50,000 images of `val/`.

`val/` has a folder for each class, or is flat. If it is flat, the classes are read from the development kit, from
Kaggle's LOC_val_solution.csv or from a list of synsets. Classes are named by their synsets. Image names contain the
file names, which other labels (ReaL) refer to. val is used as test; 1 % of train is held out as validation.

Russakovsky et al. 2015, "ImageNet Large Scale Visual Recognition Challenge", https://arxiv.org/abs/1409.0575.
"""

import csv
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath

import numpy as np

from mixlab.data.class_order import class_order
from mixlab.data.dataset import Dataset, Sample, Split
from mixlab.data.holdout import GroupedSplit
from mixlab.data.readers.data_dirs import data_dirs
from mixlab.data.readers.folder_files import is_image
from mixlab.errors import UserError, did_you_mean
from mixlab.report.text import pluralize

_SUBFOLDERS = ("", "imagenet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
_VALIDATION_SHARE = 1 / 100  # as train[99%:] of big_vision; 10 % would be 128,000 images


def open_imagenet(path: Path | None) -> Dataset:
    """Open ImageNet with train, validation and test splits.

    `path`: default: $MIXLAB_DATA, then the user's cache.

    Raises UserError if it is missing or incomplete.
    """
    root = _root(path, "train")
    train, test = _train_samples(root), _val_samples(root)
    classes = class_order(sample.label for sample in train)
    if unknown := sorted({sample.label for sample in test} - set(classes)):
        raise UserError(
            f'{root} has the class "{unknown[0]}" in val but not in train: unpack train again. '
            f"{did_you_mean(unknown[0], classes)}".rstrip()
        )
    everything = Split.from_samples(train, classes)
    counts = np.bincount(everything.labels)
    if counts.min() < 2:
        raise UserError(
            f"{root} has {pluralize(int(counts.min()), 'image')} of {classes[int(counts.argmin())]} in train: each "
            "class needs at least two images."
        )
    # Each image is its own group: a search for equal files would read most of the 140 GB.
    validation, rest = GroupedSplit(everything, np.arange(len(everything))).cut(_VALIDATION_SHARE)
    splits = {"train": rest.split, "validation": validation, "test": Split.from_samples(test, classes)}
    note = "1 % of train was held out as validation, stratified by class with a fixed seed. val is used as test."
    return Dataset(_name(path), classes, splits, (note,))


def open_imagenet_val(path: Path | None) -> Dataset:
    """Open val alone, as "test", to evaluate a trained model. Raises UserError if it is missing or incomplete."""
    val = _val_samples(_root(path, "val"))
    classes = class_order(sample.label for sample in val)
    return Dataset(_name(path), classes, {"test": Split.from_samples(val, classes)})


def _name(path: Path | None) -> str:
    return f"imagenet:{path.absolute()}" if path else "imagenet"


def _root(path: Path | None, split: str) -> Path:
    if path and not path.is_dir():
        raise UserError(
            f"{_name(path)} does not exist: give the folder that contains train/ and val/ of ILSVRC 2012, or omit the "
            "path and set $MIXLAB_DATA to that folder."
        )
    searched = [path] if path else data_dirs()
    for root in [folder / subfolder for folder in searched for subfolder in _SUBFOLDERS]:
        if (root / split).is_dir():
            return root
    raise UserError(
        f"{_name(path)} has no {split}/ in {' or '.join(map(str, searched))}: unpack ILSVRC2012_img_train.tar into "
        "train/, with a folder for each class, and ILSVRC2012_img_val.tar into val/. Then give the folder that "
        "contains both as imagenet:PATH or in $MIXLAB_DATA."
    )


def _train_samples(root: Path) -> list[Sample]:
    samples = _class_folder_samples(root / "train", "train")
    if not samples:
        raise UserError(
            f"{root / 'train'} has no images in class folders: unpack each archive inside ILSVRC2012_img_train.tar "
            "into a folder of the same name."
        )
    return samples


def _val_samples(root: Path) -> list[Sample]:
    folder = root / "val"
    if not folder.is_dir():
        raise UserError(f"{root} has no val/, which is the test split: unpack ILSVRC2012_img_val.tar into {folder}.")
    if samples := _class_folder_samples(folder, "val"):
        return samples
    files = _image_names(folder)
    if not files:
        raise UserError(f"{folder} has no images: unpack ILSVRC2012_img_val.tar into it.")
    synset_of = _synset_lookup(root)
    return [Sample(synset_of(folder / file), f"val/{file}", folder / file) for file in files]


def _class_folder_samples(folder: Path, split: str) -> list[Sample]:
    labels = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    return [
        Sample(label, f"{split}/{label}/{file}", folder / label / file)
        for label in labels
        for file in _image_names(folder / label)
    ]


def _image_names(folder: Path) -> list[str]:
    """File names only, because there are 1.28 million images."""
    return sorted(file.name for file in os.scandir(folder) if is_image(PurePath(file.name)) and file.name[0] != ".")


_GROUND_TRUTH_FILE = "ILSVRC2012_validation_ground_truth.txt"
_KAGGLE_FILE = "LOC_val_solution.csv"
_SYNSET_LIST_FILE = "imagenet_2012_validation_synset_labels.txt"


def _synset_lookup(root: Path) -> Callable[[Path], str]:
    """A function from an image of the flat val/ to its synset. Raises UserError if no file lists the classes."""
    folders = [root, *list(root.absolute().parents)[:3]]
    kits = [folder / kit / "data" for folder in folders for kit in ("ILSVRC2012_devkit_t12", "devkit", "")]
    for kit in kits:
        if (kit / _GROUND_TRUTH_FILE).is_file() and (kit / "meta.mat").is_file():
            return _by_number(kit / _GROUND_TRUTH_FILE, _numbered_synsets(kit / "meta.mat"))
    for folder in folders:
        if (folder / _KAGGLE_FILE).is_file():
            return _by_name(folder / _KAGGLE_FILE)
        if (folder / _SYNSET_LIST_FILE).is_file():
            return _by_number(folder / _SYNSET_LIST_FILE, {})
    raise UserError(
        f"{root / 'val'} has no class folders and no file lists the classes of its images: put ILSVRC2012_devkit_t12/ "
        f"(unpacked), {_KAGGLE_FILE} or {_SYNSET_LIST_FILE} into {root}, or move the images into class folders."
    )


def _numbered_synsets(path: Path) -> dict[str, str]:
    from scipy.io import loadmat

    return {str(row[0]): str(row[1]) for row in np.atleast_1d(loadmat(path, squeeze_me=True)["synsets"])}


def _by_number(path: Path, synsets: Mapping[str, str]) -> Callable[[Path], str]:
    """Line n gives the class of ILSVRC2012_val_n.JPEG: a synset, or a number that is a key of `synsets`."""
    lines = path.read_text(encoding="utf-8").split()

    def synset_of(image: Path) -> str:
        number = re.search(r"_(\d+)$", image.stem)
        if number is None or not 0 < int(number[1]) <= len(lines):
            raise UserError(
                f"{image} has no line in {path}, which has {pluralize(len(lines), 'line')}: the images of val must be "
                "named ILSVRC2012_val_00000001.JPEG and so on."
            )
        line = lines[int(number[1]) - 1]
        return synsets.get(line, line)

    return synset_of


def _by_name(path: Path) -> Callable[[Path], str]:
    """Each row has the name of an image and its boxes, which begin with the synset."""
    with path.open(encoding="utf-8", newline="") as file:
        synsets = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}

    def synset_of(image: Path) -> str:
        if image.stem not in synsets:
            raise UserError(f"{image} is not listed in {path}: remove the image, or download the table again.")
        return synsets[image.stem]

    return synset_of
