"""Splits: from those that a source provides to those that are needed, three for training and one for evaluation.

Missing splits are held out of the existing ones (`mixlab.data.holdout`). If a source has only train, a fifth of it
becomes test and a tenth of the rest validation. If it has train and one held-out split, that one becomes test whatever
its name, and validation is held out of train.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
from jaxtyping import Int64

from mixlab.data.class_order import class_order
from mixlab.data.dataset import SPLITS, Dataset, Sample, Split
from mixlab.data.holdout import TEST_SHARE, VALIDATION_SHARE, GroupedSplit, group_equal_files, group_samples
from mixlab.data.near_duplicate_groups import group_near_duplicates
from mixlab.errors import UserError, did_you_mean
from mixlab.report.text import pluralize


def as_provided(
    name: str, samples: Mapping[str, Sequence[Sample]], notes: tuple[str, ...] = (), classes: tuple[str, ...] = ()
) -> Dataset:
    """A dataset with the splits of `samples` (split name -> samples), unchanged.

    `classes`: the order of the classes, if the source declares one; default: `class_order` of the labels.
    """
    classes = classes or class_order(sample.label for split in samples.values() for sample in split)
    splits = {split: Split.from_samples(samples[split], classes) for split in SPLITS if samples.get(split)}
    return Dataset(name, classes, splits, notes)


def as_single_test_split(dataset: Dataset) -> Dataset:
    """All images of all splits as "test"."""
    return replace(dataset, splits={"test": reduce(Split.concat, dataset.splits.values())})


def with_test_split(dataset: Dataset) -> Dataset:
    """Ensure that there is a "test" split: the validation split if there is no test split, otherwise all images."""
    if "test" in dataset.splits:
        return dataset
    if "validation" not in dataset.splits:
        return as_single_test_split(dataset)
    return replace(
        dataset, splits={"test" if name == "validation" else name: dataset.splits[name] for name in dataset.splits}
    )


def require_train(dataset: Dataset) -> None:
    """Raises UserError if there is no split "train"."""
    if "train" not in dataset.splits:
        raise UserError(
            f"{dataset.name} has {' and '.join(sorted(dataset.splits))} {dataset.noun}s but no training "
            f"{dataset.noun}s: the split to train on must be called train."
        )


def require_trainable(dataset: Dataset) -> None:
    """Raises UserError if `with_all_splits` would, except for near duplicates, which are not searched."""
    _check_classes(dataset)
    if len(dataset.splits) < 3:
        _check_enough_images(dataset, group_samples(dataset.splits["train"]))


def with_all_splits(dataset: Dataset, *, quiet: bool = False) -> Dataset:
    """Ensure that there are three splits, as training needs them.

    Near duplicates stay in one split if mixlab divides train. `quiet`: show no progress of their search.

    Raises UserError if train is missing or has only one class, if another split has a class that train lacks, or if a
    class has too few different images to hold some out.
    """
    _check_classes(dataset)
    if len(dataset.splits) == 3:
        return replace(dataset, notes=(*dataset.notes, *_shared_group_notes(dataset)))
    divided = divide(dataset, _check_enough_images, quiet=quiet)
    _check_classes(divided)  # a class that shares all of its groups with others may be missing from train
    return divided


def divide(dataset: Dataset, check: Callable[[Dataset, GroupedSplit], None], *, quiet: bool) -> Dataset:
    """Hold out the missing splits of train, stratified by its labels, which are integers.

    `check`: raises UserError if the images, in groups that stay together, are too few to hold some out.
    """
    train = group_equal_files(dataset.splits["train"])
    near = group_near_duplicates(train, _sides(dataset), quiet=quiet)
    images = near.images.merge_sample_groups()
    test = dataset.splits.get("test") or dataset.splits.get("validation")
    check(dataset, images)
    if test is None:
        test, rest = images.cut(TEST_SHARE)
        note = (
            f"A fifth of the {dataset.noun}s was held out as test and a tenth of the rest as validation, stratified by "
            "class with a fixed seed."
        )
    else:
        rest = images
        note = "A tenth of train was held out as validation, stratified by class with a fixed seed."
        if "test" not in dataset.splits:
            note += " The validation split, the only one that the source holds out, is used as the test split."
    validation, rest = rest.cut(VALIDATION_SHARE)
    splits = {"train": rest.split, "validation": validation, "test": test}
    notes = (*dataset.notes, note, *_duplicate_notes(train, dataset.noun), *near.notes)
    return replace(dataset, splits=splits, notes=notes, split_by_mixlab=True)


def divide_by_strata(dataset: Dataset, strata: Int64[np.ndarray, " image"], *, quiet: bool) -> Dataset:
    """`divide` for labels that are no integers, stratified by those of the training images in `strata`.

    Raises UserError if there are too few images to hold some out.
    """
    train = dataset.splits["train"]
    index_of = {name: index for index, name in enumerate(train.names)}
    stratified = replace(dataset, splits={**dataset.splits, "train": replace(train, labels=strata)})
    divided = divide(stratified, _check_enough_groups, quiet=quiet)
    splits = {
        name: replace(split, labels=train.labels[[index_of[each] for each in split.names]])
        if split.labels.ndim == 1
        else split
        for name, split in divided.splits.items()
    }
    return replace(divided, splits=splits)


def _shared_group_notes(dataset: Dataset) -> list[str]:
    splits_of_groups = Counter(group for split in dataset.splits.values() for group in set(split.groups))
    shared = sum(splits > 1 for splits in splits_of_groups.values())
    return [f"Groups in more than one split, as the source provides them: {shared:,}."] if shared else []


def _duplicate_notes(train: GroupedSplit, noun: str) -> list[str]:
    notes = []
    if duplicates := len(train.split) - len(train.group_labels):
        notes.append(f"Byte-identical to another {noun} and kept in the same split: {pluralize(duplicates, noun)}.")
    if train.label_conflicts:
        notes.append(f"Byte-identical {noun}s with different classes: {pluralize(train.label_conflicts, noun)}.")
    return notes


def _check_classes(dataset: Dataset) -> None:
    require_train(dataset)
    train_classes = [dataset.classes[label] for label in np.unique(dataset.splits["train"].labels)]
    if len(train_classes) == 1:
        raise UserError(
            f'{dataset.name} has only one class, "{train_classes[0]}": a classifier needs at least two, so add '
            f"{dataset.noun}s of another class."
        )
    for name, split in dataset.splits.items():
        for label in np.unique(split.labels):
            if (unknown := dataset.classes[label]) not in train_classes:
                raise UserError(
                    f'{dataset.name} has the class "{unknown}" in {name} but not in train: add {dataset.noun}s of it '
                    f"to train, or rename it. {did_you_mean(unknown, train_classes)}".rstrip()
                )


def _sides(dataset: Dataset) -> int:
    """The number of splits that train is divided into, if the others are provided."""
    return 4 - len(dataset.splits)


def _check_enough_groups(dataset: Dataset, images: GroupedSplit) -> None:
    needed, groups = _sides(dataset), len(np.unique(images.group_ids))
    if groups < needed:
        raise UserError(
            f"{dataset.name} has {pluralize(groups, f'different {dataset.noun}')}, but at least {needed} are needed to "
            f"hold some out: add {dataset.noun}s."
        )


def _check_enough_images(dataset: Dataset, images: GroupedSplit) -> None:
    needed = _sides(dataset)
    noun = "group" if images.split.groups else f"different {dataset.noun}"
    groups_per_class = images.groups_per_class(len(dataset.classes))
    for label in np.unique(images.split.labels):
        if (count := int(groups_per_class[label])) < needed:
            raise UserError(
                f'{dataset.name} has {pluralize(count, noun)} of "{dataset.classes[label]}", but at least {needed} are '
                f"needed to hold some out: add {dataset.noun}s, or remove the class."
            )
