"""From the parts that a source has to those that are needed: three for a training, one for judging.

What is missing is cut from what is there (`mixlab.data.holdout`): from train alone, a fifth is test and a tenth of the
rest validation; of two parts, the held-out one is the test part whatever its name, and validation is cut from train.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from mixlab.data.dataset import PARTS, Dataset, Labelled, Part
from mixlab.data.holdout import TEST_SHARE, VALIDATION_SHARE, Grouped, by_bytes
from mixlab.errors import UserError, did_you_mean
from mixlab.report.text import counted


def as_found(
    name: str, found: Mapping[str, Sequence[Labelled]], notes: tuple[str, ...] = (), classes: tuple[str, ...] = ()
) -> Dataset:
    """The parts of `found` as they are.

    Without `classes`, they are those that images have: numbers in the order of their values, words in the alphabet's.
    """
    labels = {one.label for part in found.values() for one in part}
    classes = classes or tuple(sorted(labels, key=int if all(map(str.isdecimal, labels)) else None))
    parts = {part: Part.of(found[part], classes) for part in PARTS if found.get(part)}
    return Dataset(name, classes, parts, notes)


def whole(dataset: Dataset) -> Dataset:
    """All of its images, whatever part they lie in, as "test"."""
    return replace(dataset, parts={"test": reduce(Part.joined, dataset.parts.values())})


def with_test(dataset: Dataset) -> Dataset:
    """The images that a source holds out are "test", whatever it calls them; all of them where it holds out none."""
    if "test" in dataset.parts:
        return dataset
    if "validation" not in dataset.parts:
        return whole(dataset)
    return replace(
        dataset, parts={"test" if name == "validation" else name: dataset.parts[name] for name in dataset.parts}
    )


def completed(dataset: Dataset) -> Dataset:
    """With the three parts that a training needs. Raises UserError."""
    _check_classes(dataset)
    if len(dataset.parts) == 3:
        return dataset
    train = by_bytes(dataset.parts["train"])
    images = train.with_origins()
    judged = dataset.parts.get("test") or dataset.parts.get("validation")
    _check_enough(dataset, images, needed=2 if judged else 3)
    if judged is None:
        judged, rest = images.cut(TEST_SHARE)
        did = "A fifth of the images was held out as test and a tenth of the rest as validation, by class and seeded."
    else:
        rest = images
        did = "A tenth of train was held out as validation, by class and seeded."
        if "test" not in dataset.parts:
            did += " The validation part, which is all that was held out before, is the test part."
    validation, rest = rest.cut(VALIDATION_SHARE)
    parts = {"train": rest.part, "validation": validation, "test": judged}
    return replace(dataset, parts=parts, notes=(*dataset.notes, did, *_copies(train)), cut_here=True)


def _copies(train: Grouped) -> list[str]:
    notes = []
    if copies := len(train.part) - len(train.labels_of_groups):
        notes.append(
            f"Kept on one side of the cut because their bytes are equal to another's: {counted(copies, 'image')}."
        )
    if train.contradictions:
        notes.append(f"In more than one class, byte for byte: {counted(train.contradictions, 'image')}.")
    return notes


def _check_classes(dataset: Dataset) -> None:
    if "train" not in dataset.parts:
        raise UserError(
            f"{dataset.name} has {' and '.join(sorted(dataset.parts))} images but none to train on: the part to "
            "learn from has to be called train."
        )
    learned = [dataset.classes[label] for label in np.unique(dataset.parts["train"].labels)]
    if len(learned) == 1:
        raise UserError(
            f'{dataset.name} has only one class, "{learned[0]}": telling classes apart takes two, so add images of '
            "another."
        )
    for name, part in dataset.parts.items():
        for label in np.unique(part.labels):
            if (unknown := dataset.classes[label]) not in learned:
                raise UserError(
                    f'{dataset.name} has the class "{unknown}" in its {name} part but not in train, where it is '
                    f"learned: add images of it there, or rename it. {did_you_mean(unknown, learned)}".rstrip()
                )


def _check_enough(dataset: Dataset, images: Grouped, needed: int) -> None:
    thing = "group" if images.part.origins else "different image"
    different = np.bincount(images.labels_of_groups, minlength=len(dataset.classes))
    for label in np.unique(images.part.labels):
        if (count := int(different[label])) < needed:
            raise UserError(
                f'{dataset.name} has {counted(count, thing)} of "{dataset.classes[label]}", and {needed} are needed '
                "to hold some out: add images, or take the class out."
            )
