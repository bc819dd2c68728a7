"""From the parts that a source has to those that are needed: three for a training, one for judging.

What is missing is cut from what is there (`mixlab.data.holdout`): from train alone, a fifth is test and a tenth of the
rest validation; of two parts, the held-out one is the test part whatever its name, and validation is cut from train.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from mixlab.data.dataset import SPLITS, Dataset, Sample, Split
from mixlab.data.holdout import TEST_SHARE, VALIDATION_SHARE, GroupedSplit, group_equal_files
from mixlab.errors import UserError, did_you_mean
from mixlab.report.text import pluralize


def as_provided(
    name: str, found: Mapping[str, Sequence[Sample]], notes: tuple[str, ...] = (), classes: tuple[str, ...] = ()
) -> Dataset:
    """The parts of `found` as they are.

    Without `classes`, they are those that images have: numbers in the order of their values, words in the alphabet's.
    """
    labels = {one.label for split in found.values() for one in split}
    classes = classes or tuple(sorted(labels, key=int if all(map(str.isdecimal, labels)) else None))
    splits = {split: Split.of(found[split], classes) for split in SPLITS if found.get(split)}
    return Dataset(name, classes, splits, notes)


def as_single_test_split(dataset: Dataset) -> Dataset:
    """All of its images, whatever part they lie in, as "test"."""
    return replace(dataset, splits={"test": reduce(Split.concat, dataset.splits.values())})


def with_test_split(dataset: Dataset) -> Dataset:
    """The images that a source holds out are "test", whatever it calls them; all of them where it holds out none."""
    if "test" in dataset.splits:
        return dataset
    if "validation" not in dataset.splits:
        return as_single_test_split(dataset)
    return replace(
        dataset, splits={"test" if name == "validation" else name: dataset.splits[name] for name in dataset.splits}
    )


def with_all_splits(dataset: Dataset) -> Dataset:
    """With the three parts that a training needs. Raises UserError."""
    _check_classes(dataset)
    if len(dataset.splits) == 3:
        return dataset
    train = group_equal_files(dataset.splits["train"])
    images = train.merge_sample_groups()
    evaluated = dataset.splits.get("test") or dataset.splits.get("validation")
    _check_enough(dataset, images, needed=2 if evaluated else 3)
    if evaluated is None:
        evaluated, rest = images.cut(TEST_SHARE)
        did = "A fifth of the images was held out as test and a tenth of the rest as validation, by class and seeded."
    else:
        rest = images
        did = "A tenth of train was held out as validation, by class and seeded."
        if "test" not in dataset.splits:
            did += " The validation part, which is all that was held out before, is the test part."
    validation, rest = rest.cut(VALIDATION_SHARE)
    splits = {"train": rest.split, "validation": validation, "test": evaluated}
    return replace(dataset, splits=splits, notes=(*dataset.notes, did, *_copies(train)), split_by_mixlab=True)


def _copies(train: GroupedSplit) -> list[str]:
    notes = []
    if copies := len(train.split) - len(train.group_labels):
        notes.append(
            f"Kept on one side of the cut because their bytes are equal to another's: {pluralize(copies, 'image')}."
        )
    if train.label_conflicts:
        notes.append(f"In more than one class, byte for byte: {pluralize(train.label_conflicts, 'image')}.")
    return notes


def _check_classes(dataset: Dataset) -> None:
    if "train" not in dataset.splits:
        raise UserError(
            f"{dataset.name} has {' and '.join(sorted(dataset.splits))} images but none to train on: the part to "
            "learn from has to be called train."
        )
    learned = [dataset.classes[label] for label in np.unique(dataset.splits["train"].labels)]
    if len(learned) == 1:
        raise UserError(
            f'{dataset.name} has only one class, "{learned[0]}": telling classes apart takes two, so add images of '
            "another."
        )
    for name, split in dataset.splits.items():
        for label in np.unique(split.labels):
            if (unknown := dataset.classes[label]) not in learned:
                raise UserError(
                    f'{dataset.name} has the class "{unknown}" in its {name} part but not in train, where it is '
                    f"learned: add images of it there, or rename it. {did_you_mean(unknown, learned)}".rstrip()
                )


def _check_enough(dataset: Dataset, images: GroupedSplit, needed: int) -> None:
    thing = "group" if images.split.groups else "different image"
    different = np.bincount(images.group_labels, minlength=len(dataset.classes))
    for label in np.unique(images.split.labels):
        if (count := int(different[label])) < needed:
            raise UserError(
                f'{dataset.name} has {pluralize(count, thing)} of "{dataset.classes[label]}", and {needed} are needed '
                "to hold some out: add images, or take the class out."
            )
