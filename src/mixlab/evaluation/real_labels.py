"""Evaluation with the reassessed labels (ReaL) of the ImageNet validation images.

Beyer et al. 2020, "Are we done with ImageNet?", https://arxiv.org/abs/2006.07159. Each image has the classes that
annotators found in it, possibly several, possibly none. A prediction is correct if it is one of them. An image without
a class is not counted, neither as correct nor as wrong.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Int, Int64

from mixlab.data.readers.imagenet_classes import imagenet_synsets
from mixlab.errors import UserError
from mixlab.files import read_reason
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval

IMAGES, CLASSES = 50_000, 1_000

_NAME = re.compile(r"ILSVRC2012_val_(\d{8})(_n\d{8})?")

RealLabels = list[frozenset[int]]
"""The classes of each validation image, by number: element 0 belongs to ILSVRC2012_val_00000001.JPEG."""


def read_real_labels(file: Path) -> RealLabels:
    """Read real.json of google-research/reassessed-imagenet: a list of 50,000 lists of class indices.

    Raises UserError if the file can't be read or is not such a list.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file} can't be read: {read_reason(error) or error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON ({error}): {_WAY_OUT}") from error
    if not isinstance(content, list) or len(content) != IMAGES:
        found = f"a list of {len(content):,}" if isinstance(content, list) else f"a {type(content).__name__}"
        raise UserError(f"{file} has {found} instead of a list of {IMAGES:,} lists of classes: {_WAY_OUT}")
    for number, classes in enumerate(content, start=1):
        if not isinstance(classes, list) or not all(type(c) is int and 0 <= c < CLASSES for c in classes):
            raise UserError(
                f"{file} has {json.dumps(classes):.60} for image {number:,}: it must be a list of classes from 0 to "
                f"{CLASSES - 1}. {_WAY_OUT.capitalize()}"
            )
    return [frozenset(classes) for classes in content]


_WAY_OUT = "give real.json of https://github.com/google-research/reassessed-imagenet."


def imagenet_indices(classes: Sequence[str]) -> Int64[np.ndarray, " class"]:
    """The index in ImageNet-1k of each class of a data set.

    Classes that are named by synsets are found by name; 1,000 others are taken to be in the order of ImageNet-1k.
    Raises UserError for a class that ImageNet-1k lacks.
    """
    index_of = {synset: index for index, synset in enumerate(imagenet_synsets())}
    missing = [name for name in classes if name not in index_of]
    if not missing:
        return np.array([index_of[name] for name in classes], dtype=np.int64)
    if len(missing) == len(classes) == CLASSES:
        return np.arange(CLASSES)
    raise UserError(
        f'ReaL has the {CLASSES:,} classes of ImageNet-1k, and "{missing[0]}" is not the name of one of them: evaluate '
        "a model whose classes are synsets, such as n01440764."
    )


def real_correct(
    names: Sequence[str], predictions: Int[np.ndarray, " image"], labels: RealLabels
) -> tuple[Bool[np.ndarray, " image"], Bool[np.ndarray, " image"]]:
    """Which predictions are correct, and which images are counted. Images are matched by their file names.

    names        names of images, such as "val/ILSVRC2012_val_00000293.JPEG", with any folder
    predictions  class indices in the order of ImageNet-1k, which is that of the sorted synsets

    Raises UserError for a name that is not one of the validation images, and for a class above 999.
    """
    if len(predictions) and predictions.max() >= CLASSES:
        raise UserError(
            f"The model has predicted class {predictions.max()}, but ReaL has the {CLASSES:,} classes of ImageNet-1k: "
            "choose a model with these classes."
        )
    image_labels = [labels[_index(name)] for name in names]
    counted = np.array([bool(classes) for classes in image_labels], dtype=bool)
    correct = [prediction in classes for prediction, classes in zip(predictions.tolist(), image_labels, strict=True)]
    return np.array(correct, dtype=bool), counted


def real_accuracy(names: Sequence[str], predictions: Int[np.ndarray, " image"], labels: RealLabels) -> Estimate:
    """The share of correct predictions among the counted images, in per cent, with a 95 % interval.

    The arguments and errors are those of `real_correct`; also raises UserError if no image is counted.
    """
    correct, counted = real_correct(names, predictions, labels)
    if not counted.any():
        raise UserError(f"None of the {len(names):,} images has a class in ReaL: evaluate on more images.")
    return proportion_interval(int(correct.sum()), int(counted.sum()))


def _index(name: str) -> int:
    match = _NAME.fullmatch(PurePosixPath(name).stem)
    if match is None or not 1 <= int(match[1]) <= IMAGES:
        raise UserError(
            f"{name} is not an image of the ImageNet validation set, which ReaL has labels for: their names are "
            "ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_00050000.JPEG. Evaluate on imagenet[:PATH]."
        )
    return int(match[1]) - 1
