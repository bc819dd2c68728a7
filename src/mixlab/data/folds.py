"""k-fold: a set's pictures in k parts alike, each of which is the test part once (Stone, 1974).

Pictures with equal bytes, or of one origin, are in one fold, and every class is spread over the folds as evenly as that
allows.

Axes:  picture  one of the set, whatever part it was in
       fold     the one in which a picture is judged
"""

from collections import defaultdict
from dataclasses import replace
from functools import reduce

import numpy as np
from jaxtyping import Int64

from mixlab.data.cut import Grouped, grouped
from mixlab.data.dataset import Dataset, Part
from mixlab.data.draws import epoch_order
from mixlab.errors import UserError


def folded(dataset: Dataset, count: int, *, seed: int = 0) -> list[Dataset]:
    """`count` sets of the parts "train" and "test". Pictures of all parts take part; each is once in a test part.

    Raises UserError where a class has fewer different pictures than there are folds.
    """
    if count < 2:
        raise UserError(f"{count} folds leave nothing to train on: give at least 2.")
    everything = grouped(reduce(Part.joined, dataset.parts.values()))
    _check_enough(dataset, everything, count)
    fold_of = folds_of(everything, count, seed)
    return [
        replace(
            dataset,
            parts={
                "train": everything.part.subset(np.flatnonzero(fold_of != fold)),
                "test": everything.part.subset(np.flatnonzero(fold_of == fold)),
            },
            cut_here=True,
        )
        for fold in range(count)
    ]


def folds_of(pictures: Grouped, count: int, seed: int) -> Int64[np.ndarray, " picture"]:
    """Large groups first, else in an order that the seed decides: each goes where its classes are rarest so far."""
    members: defaultdict[int, list[int]] = defaultdict(list)
    for place, group in enumerate(pictures.groups.tolist()):
        members[group].append(place)
    groups = list(members.values())
    shuffled = [groups[index] for index in epoch_order(seed, 0, len(groups))]
    labels = pictures.part.labels
    have = np.zeros((count, int(labels.max()) + 1), dtype=np.int64)  # pictures of each class in each fold
    fold_of = np.empty(len(labels), dtype=np.int64)
    for group in sorted(shuffled, key=len, reverse=True):
        adds = np.bincount(labels[group], minlength=have.shape[1])
        fold = min(range(count), key=lambda fold: (have[fold] @ adds, have[fold].sum()))
        have[fold] += adds
        fold_of[group] = fold
    return fold_of


def _check_enough(dataset: Dataset, pictures: Grouped, count: int) -> None:
    different = np.bincount(pictures.labels_of_groups, minlength=len(dataset.classes))
    fewest = int(different.argmin())
    if different[fewest] < count:
        raise UserError(
            f'{dataset.name} has {different[fewest]} different pictures of "{dataset.classes[fewest]}", and {count} '
            "folds need as many: add pictures, or ask for fewer folds."
        )
