"""A subset of a dataset for training: some classes, all folds but one, and a number or share of each class.

For a seed, the images of each class have one random order, so a larger subset contains the smaller ones.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from mixlab.data.dataset import Dataset
from mixlab.data.folds import training_folds
from mixlab.data.rng import epoch_order
from mixlab.errors import UserError, did_you_mean


def subset(
    dataset: Dataset,
    *,
    classes: Sequence[str] | None = None,
    folds: int | None = None,
    left_out_fold: int | None = None,
    per_class: int | None = None,
    share: float | None = None,
    seed: int,
) -> Dataset:
    """Select classes, and training images of each class.

    classes        names in the order of the new labels; None: all
    folds          number of folds of the training images, from which `left_out_fold` is removed; see `training_folds`
    left_out_fold  index of the fold to remove; None if `folds` is None
    per_class      maximum number of training images of each class
    share          fraction of the training images of each class; at least one image is selected
    seed           selects the training images of `per_class` and `share`

    Validation and test keep all images of the classes. Raises UserError for unknown classes, if a class has fewer
    different images than there are folds, and for images with several labels or masks.
    """
    if dataset.splits["train"].labels.ndim != 1:
        raise UserError(
            f"[subset] selects {dataset.noun}s by their class, but those of {dataset.name} have masks or several "
            "labels: remove [subset] from the recipe."
        )
    if classes is not None:
        dataset = _of_classes(dataset, classes)
    train = dataset.splits["train"]
    if folds is not None:
        train = train.subset(np.flatnonzero(training_folds(dataset, folds).fold_of != left_out_fold))
    selected = []
    for label in range(len(dataset.classes)):
        indices = np.flatnonzero(train.labels == label)
        count = len(indices) if share is None else max(round(share * len(indices)), 1)
        shuffled = indices[epoch_order(seed, label, len(indices))]
        selected.append(shuffled[: count if per_class is None else per_class])
    subset_of_train = train.subset(np.sort(np.concatenate(selected)))
    return replace(dataset, splits={**dataset.splits, "train": subset_of_train})


def _of_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    for name in classes:
        if name not in dataset.classes:
            raise UserError(
                f'subset.classes has "{name}", which is not a class of {dataset.name}. '
                f"{did_you_mean(name, dataset.classes) or 'Its classes are ' + ', '.join(dataset.classes[:10]) + '.'}"
            )
    label_of = np.full(len(dataset.classes), -1, dtype=np.int64)
    label_of[[dataset.classes.index(name) for name in classes]] = np.arange(len(classes))
    splits = {}
    for name, split in dataset.splits.items():
        labels: Int64[np.ndarray, " image"] = label_of[split.labels]
        indices = np.flatnonzero(labels >= 0)
        if not len(indices):
            raise UserError(
                f"The {name} split of {dataset.name} has no {dataset.noun} of subset.classes: choose classes that it "
                f"has, or add {dataset.noun}s of them to it."
            )
        splits[name] = replace(split.subset(indices), labels=labels[indices])
    return replace(dataset, classes=tuple(classes), splits=splits)
