"""A set's classes in two halves, one that is known and one that is new, and the images of some classes alone."""

from dataclasses import dataclass, replace
from math import comb

import numpy as np
from jaxtyping import Int64

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError


@dataclass(frozen=True)
class SplitAssignment:
    """The classes that are learned first, and the new ones."""

    known: tuple[str, ...]
    new: tuple[str, ...]


def class_splits(dataset: Dataset, count: int) -> list[SplitAssignment]:
    """So many different ones, drawn once; of an odd number of classes one more is new."""
    classes = dataset.classes
    half = len(classes) // 2
    if half < 2:
        raise UserError(
            f"{dataset.name} has {len(classes)} classes, and 4 are the least: two to learn first and two that are new. "
            "Give a set with more."
        )
    if comb(len(classes), half) < count:
        raise UserError(
            f"{dataset.name} has {len(classes)} classes, which can be split in {comb(len(classes), half)} ways and not "
            f"in {count}: ask for fewer seeds."
        )
    draw, drawn = np.random.default_rng(0), dict[tuple[int, ...], None]()
    while len(drawn) < count:
        drawn[tuple(sorted(draw.permutation(len(classes))[:half].tolist()))] = None
    return [
        SplitAssignment(
            tuple(classes[place] for place in known),
            tuple(name for place, name in enumerate(classes) if place not in known),
        )
        for known in drawn
    ]


def check_enough(dataset: Dataset, shots: int) -> None:
    there = np.bincount(dataset.splits["train"].labels, minlength=len(dataset.classes))
    least = int(there.argmin())
    if there[least] < shots:
        raise UserError(
            f'{dataset.name} has {there[least]} images of "{dataset.classes[least]}" to train on, and {shots} of '
            "each new class are taken: give a set with more."
        )


def of_classes(dataset: Dataset, names: tuple[str, ...], each: int, seed: int) -> Dataset:
    """These classes alone: so many training images of each at most, drawn by the seed, and all of the test part."""
    places = np.array([dataset.classes.index(name) for name in names])
    draw, labels = np.random.default_rng(seed), dataset.splits["train"].labels
    recommendation_summary: dict[str, Int64[np.ndarray, " image"]] = {
        "train": np.concatenate([draw.permutation(np.flatnonzero(labels == place))[:each] for place in places]),
        "test": np.flatnonzero(np.isin(dataset.splits["test"].labels, places)),
    }
    subsets = {name: dataset.splits[name].subset(np.sort(indices)) for name, indices in recommendation_summary.items()}
    splits = {name: replace(split, labels=np.searchsorted(places, split.labels)) for name, split in subsets.items()}
    return replace(dataset, classes=names, splits=splits, split_by_mixlab=True)
