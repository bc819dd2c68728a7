"""Leaves images that weights have learned from out of an evaluation, and warns of near copies among the others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixlab.data.dataset import Dataset, Split
from mixlab.data.inspection.near_duplicates import ImageHash, have_near_duplicate
from mixlab.data.labels import class_counts
from mixlab.errors import UserError
from mixlab.evaluation.training_images import (
    MAX_HASHED,
    TrainingImages,
    digests_of,
    hashes_of,
    record_training_images,
    training_images_of,
    union,
)
from mixlab.report.text import join_words, pluralize

_MAX_NAMES = 4


@dataclass(frozen=True, eq=False)
class UnseenImages:
    """A dataset without the images that weights have learned from.

    left_out     the number of images that were left out
    near_copies  the number of remaining images that are near copies of training or validation images; None: unknown
    notes        sentences for the user
    """

    dataset: Dataset
    left_out: int
    near_copies: int | None
    notes: tuple[str, ...]


def unseen_by_weights(dataset: Dataset, splits: Sequence[str], sources: Sequence[str], *, quiet: bool) -> UnseenImages:
    """Leave out the images that one of several weights has learned from.

    splits   the names of the evaluated splits
    sources  the evaluated weights, as for `mixlab.load`
    quiet    no progress bars

    Raises UserError if no image is left, or none of a class.
    """
    return leave_out(dataset, splits, union(map(training_images_of, sources)), ", ".join(sources), quiet=quiet)


def unseen_in_training(dataset: Dataset, *, quiet: bool) -> UnseenImages:
    """Leave out the test images that are copies of training or validation images of the same dataset.

    For models that are trained on `dataset`. Raises UserError if no image is left, or none of a class.
    """
    learned = record_training_images(dataset, quiet=quiet)
    return leave_out(dataset, ("test",), learned, dataset.name, quiet=quiet)


def learned_validation_notes(dataset: Dataset, sources: Sequence[str], *, quiet: bool) -> tuple[str, ...]:
    """A warning if validation images are training or validation images of the weights that a training starts from.

    sources  the initial weights and the teacher, as for `mixlab.load`; none for a training from random weights
    """
    learned = union(map(training_images_of, sources))
    if "validation" not in dataset.splits or not len(learned.trained):
        return ()
    validation = dataset.splits["validation"]
    count = int(learned.contains(digests_of(validation, quiet=quiet)).sum())
    if not count:
        return ()
    return (
        f"Warning: {count:,} of {pluralize(len(validation), f'validation {dataset.noun}')} are training or validation "
        f"{dataset.noun}s of {join_words(sources)}, so the validation accuracy of this training is too high.",
    )


def leave_out(
    dataset: Dataset, splits: Sequence[str], learned: TrainingImages, learner: str, *, quiet: bool
) -> UnseenImages:
    """Leave out the images of `splits` that are training or validation images.

    learner  what has learned from the images, for messages

    Raises UserError if no image is left, or none of a class.
    """
    evaluated = {name: dataset.splits[name] for name in splits}
    if not len(learned.trained) and not len(learned.selected):
        return UnseenImages(dataset, 0, None, _unknown_notes(learned, dataset.noun))
    unseen = {name: _unseen(split, learned, quiet=quiet) for name, split in evaluated.items()}
    _require_every_class(dataset, list(evaluated.values()), list(unseen.values()), learner)
    total, remaining = (sum(map(len, each.values())) for each in (evaluated, unseen))
    notes = []
    if left_out := total - remaining:
        notes.append(
            f"Left out: {left_out:,} of {pluralize(total, dataset.noun)}, which are training or validation "
            f"{dataset.noun}s of {learner}."
        )
    searched = dataset.noun == "image"
    near = _near_copies(list(unseen.values()), learned, quiet=quiet) if searched else None
    if near is None and searched:
        notes.append(
            "Near copies of training images, such as re-encoded ones, were not searched: the training images are only "
            f"recorded by their digests, as in an exported model and for more than {MAX_HASHED:,} images."
        )
    elif near:
        notes.append(
            f"Warning: {len(near):,} of {pluralize(remaining, 'evaluated image')} "
            f"{'is a near copy' if len(near) == 1 else 'are near copies'} of training or validation images of "
            f"{learner}, so the accuracy may be too high: {join_words(near, _MAX_NAMES)}."
        )
    return UnseenImages(
        dataset=replace(dataset, splits=dataset.splits | unseen) if left_out else dataset,
        left_out=left_out,
        near_copies=None if near is None else len(near),
        notes=(*notes, *_unknown_notes(learned, dataset.noun)),
    )


def _unknown_notes(learned: TrainingImages, noun: str) -> tuple[str, ...]:
    if not learned.unknown:
        return ()
    return (
        f"The training {noun}s of {join_words(learned.unknown)} are unknown: if evaluated {noun}s are among them, the "
        "accuracy is too high.",
    )


def _unseen(split: Split, learned: TrainingImages, *, quiet: bool) -> Split:
    return split.subset(np.flatnonzero(~learned.contains(digests_of(split, quiet=quiet))))


def _require_every_class(dataset: Dataset, evaluated: list[Split], unseen: list[Split], learner: str) -> None:
    before, after = (
        sum(class_counts(split.labels, len(dataset.classes)) for split in splits) for splits in (evaluated, unseen)
    )
    missing = np.flatnonzero((before > 0) & (after == 0))
    if not len(missing):
        return
    if not any(map(len, unseen)):
        raise UserError(
            f"All {sum(map(len, evaluated)):,} {dataset.noun}s of {dataset.name} are training or validation "
            f"{dataset.noun}s of {learner}, so no accuracy can be measured on them: give {dataset.noun}s that were not "
            "used in training."
        )
    label = int(missing[0])
    raise UserError(
        f"{dataset.name} has only training or validation {dataset.noun}s of {learner} in the class "
        f'"{dataset.classes[label]}", so no accuracy can be measured: add {dataset.noun}s of this class that were not '
        "used in training, or remove the class."
    )


def _near_copies(unseen: list[Split], learned: TrainingImages, *, quiet: bool) -> list[str] | None:
    """The names of near copies of training or validation images; None if there are too many images to search."""
    if learned.hashes is None or sum(map(len, unseen)) > MAX_HASHED:
        return None
    others = list(learned.hashes.values())
    names: list[str] = []
    for split in unseen:
        hashes: list[ImageHash] = hashes_of(split, quiet=quiet)
        names += [split.names[index] for index in np.flatnonzero(have_near_duplicate(hashes, others))]
    return names
