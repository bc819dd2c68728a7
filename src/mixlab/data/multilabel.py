"""Datasets with several labels per image, or none.

Axes:  image  an image of a split
       class  a label that images may have, as a column of `Split.labels`
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from mixlab.data.class_order import class_order
from mixlab.data.dataset import SPLITS, Dataset, ImageSource, Split
from mixlab.data.labels import present_classes
from mixlab.data.splits import divide_by_strata, require_train
from mixlab.errors import UserError, did_you_mean
from mixlab.report.text import pluralize

MIN_STRATUM = 10
"""Images. Smaller strata are divided together."""


@dataclass(frozen=True, eq=False)
class MultilabelSample:
    """An image with its labels; the other fields are those of `Sample`."""

    labels: frozenset[str]
    name: str
    image: ImageSource
    group: str = ""


def multilabel_as_provided(
    name: str,
    samples: Mapping[str, Sequence[MultilabelSample]],
    notes: tuple[str, ...] = (),
    classes: tuple[str, ...] = (),
) -> Dataset:
    """A dataset with the splits of `samples` (split name -> samples), unchanged.

    `classes`: all labels in their order, if the source declares them; default: `class_order` of those that occur.
    """
    everything = [sample for split in samples.values() for sample in split]
    classes = classes or class_order(label for sample in everything for label in sample.labels)
    if not classes:
        raise UserError(f"{name} has no labels: give each image its labels, or none to some of the images.")
    splits = {split: _split(samples[split], classes) for split in SPLITS if samples.get(split)}
    if max((len(sample.labels) for sample in everything), default=0) == 1:
        notes += ("No image has several labels. Without --task multilabel, each image has exactly one class.",)
    if unlabelled := sum(not sample.labels for sample in everything):
        notes += (f"Without a label, which means that no label applies: {pluralize(unlabelled, 'image')}.",)
    return Dataset(name, classes, splits, notes)


def _split(samples: Sequence[MultilabelSample], classes: tuple[str, ...]) -> Split:
    class_index = {label: index for index, label in enumerate(classes)}
    labels = np.zeros((len(samples), len(classes)), dtype=bool)
    for row, sample in enumerate(samples):
        labels[row, [class_index[label] for label in sample.labels]] = True
    return Split(
        names=[sample.name for sample in samples],
        labels=labels,
        images=[sample.image for sample in samples],
        groups=tuple(sample.group for sample in samples if sample.group),
    )


def with_all_multilabel_splits(dataset: Dataset, *, quiet: bool = False) -> Dataset:
    """Ensure that there are three splits, as `with_all_splits` does for images with one class.

    The images that are held out are stratified by their rarest label.

    Raises UserError if train is missing, if it lacks a label that occurs, if all of its images have the same labels, or
    if there are too few images to hold some out.
    """
    _check_labels(dataset)
    if len(dataset.splits) == 3:
        return dataset
    strata = strata_of(dataset.splits["train"].labels)
    result = divide_by_strata(dataset, strata, quiet=quiet)
    _check_labels(result)
    return result


def strata_of(labels: Bool[np.ndarray, "image class"]) -> Int64[np.ndarray, " image"]:
    """The rarest label of each image. One further stratum has images without a label, and those of small strata."""
    classes = labels.shape[1]
    order = np.argsort(labels.sum(axis=0), kind="stable")
    has_label = labels.any(axis=1)
    strata = np.where(has_label, order[labels[:, order].argmax(axis=1)], classes).astype(np.int64)
    small = np.bincount(strata, minlength=classes + 1) < MIN_STRATUM
    return np.where(small[strata], classes, strata)


def _check_labels(dataset: Dataset) -> None:
    require_train(dataset)
    train = dataset.splits["train"].labels
    if (train == train[0]).all():
        listed = ", ".join(f'"{dataset.classes[index]}"' for index in np.flatnonzero(train[0])) or "none"
        raise UserError(
            f"{dataset.name} has the same labels on all training images ({listed}), so there is nothing to learn: add "
            "images with other labels, or without any."
        )
    in_train = set(present_classes(train))
    missing = [label for index, label in enumerate(dataset.classes) if index not in in_train]
    if missing:
        names = [dataset.classes[index] for index in sorted(in_train)]
        raise UserError(
            f'{dataset.name} has no training image with the label "{missing[0]}"{_and_more(missing[1:])}: add images '
            f"with it to train, or remove it. {did_you_mean(missing[0], names)}".rstrip()
        )


def _and_more(others: Iterable[str]) -> str:
    count = len(list(others))
    return f" and with {pluralize(count, 'other label')}" if count else ""
