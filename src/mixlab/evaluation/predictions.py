"""Which images a method classifies correctly, in one or several runs: what a paired comparison needs.

Axes:  seed   one run of the method
       image  an evaluated image, in the order of the image names
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int

from mixlab.errors import UserError
from mixlab.report.text import join_words, pluralize


@dataclass(frozen=True, eq=False)
class Predictions:
    """The evaluation of one method on a set of images, in the order of the image names.

    model        a name for tables and sentences
    data         the name of the set
    noun         what a sample is, for sentences: "image" or "sound"
    fingerprint  of the set, see `set_fingerprint`
    correct      whether each run classified each image correctly
    names        of the images, in ascending order; None, as `classes`, `labels` and `predicted`, for a file that only
                 has `correct`
    classes      the names of the classes
    labels       indices into `classes`
    predicted    indices into `classes`
    """

    model: str
    data: str
    fingerprint: str
    correct: Bool[np.ndarray, "seed image"]
    names: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    labels: Int[np.ndarray, " image"] | None = None
    predicted: Int[np.ndarray, "seed image"] | None = None
    noun: str = "image"

    @property
    def runs(self) -> int:
        return self.correct.shape[0]

    @property
    def images(self) -> int:
        return self.correct.shape[1]


def predictions_of_run(
    model: str,
    data: str,
    *,
    names: Sequence[str],
    classes: tuple[str, ...],
    labels: Int[np.ndarray, " image"],
    predicted: Int[np.ndarray, " image"],
    noun: str = "image",
) -> Predictions:
    """The predictions of one run, from arrays in any order of the images.

    model, data  names for tables and sentences; `write_correctness` stores both
    names        of the images, as in `mixlab.data.dataset.Split`
    labels       the true classes, indices into `classes`
    predicted    the predicted classes, indices into `classes`
    noun         what a sample is, for sentences

    Raises UserError if two images have the same name.
    """
    order = sorted(range(len(names)), key=names.__getitem__)
    ordered = tuple(names[index] for index in order)
    duplicates = sorted({name for name, following in pairwise(ordered) if name == following})
    if duplicates:
        raise UserError(
            f"{data} has more than one {noun} with the name {join_words(duplicates, most=3)}: {noun}s are paired by "
            "name, so every name must be unique. Rename them."
        )
    labels, predicted = labels[order], predicted[order]
    return Predictions(
        model,
        data,
        set_fingerprint(ordered, [classes[label] for label in labels]),
        (predicted == labels)[None],
        ordered,
        classes,
        labels,
        predicted[None],
        noun,
    )


def set_fingerprint(names: Sequence[str], labels: Sequence[str]) -> str:
    """SHA-256 of the names of all images, in ascending order, with the names of their true classes: 64 digits.

    Two evaluations with the same fingerprint are on the same images with the same labels, in the same order, unless
    the content of a file was changed under its name. The order of the classes in a model has no effect.
    """
    digest = hashlib.sha256()
    for pair in zip(names, labels, strict=True):
        digest.update(json.dumps(pair).encode() + b"\n")
    return digest.hexdigest()


def stack_runs(model: str, runs: Sequence[Predictions]) -> Predictions:
    """Several runs of one method, such as trainings with different seeds, as one `Predictions` with this name.

    Names, labels and classes are those of the first run that has them; `predicted` is None if a run lacks it. Raises
    UserError if the runs were evaluated on different images.
    """
    first = most_detailed(runs)
    for run in runs:
        check_same_set(first, run)
    return replace(
        first,
        model=model,
        correct=np.concatenate([run.correct for run in runs]),
        predicted=_stack_predicted(first, runs),
    )


def most_detailed(runs: Sequence[Predictions]) -> Predictions:
    """The first that has the names of its images, or else the first."""
    return next((run for run in runs if run.names is not None), runs[0])


def _stack_predicted(first: Predictions, runs: Sequence[Predictions]) -> Int[np.ndarray, "seed image"] | None:
    predicted = [run.predicted for run in runs if run.classes == first.classes and run.predicted is not None]
    return np.concatenate(predicted) if len(predicted) == len(runs) else None


def check_same_set(a: Predictions, b: Predictions) -> None:
    """Raises UserError with the difference if `a` and `b` were evaluated on different images or labels."""
    if a.fingerprint == b.fingerprint:
        return
    raise UserError(
        f"{a.model} and {b.model} were evaluated on different sets, so they can't be compared {a.noun} by {a.noun}: "
        f"{_set_difference(a, b)}. Evaluate both on the same {a.noun}s with the same labels."
    )


def _set_difference(a: Predictions, b: Predictions) -> str:
    """How two sets differ, as far as it is known."""
    if a.names is None or b.names is None:
        if a.images != b.images:
            return f"{pluralize(a.images, a.noun)} of {a.data} and {b.images:,} of {b.data}"
        unnamed = " and ".join(sorted({each.model for each in (a, b) if each.names is None}))
        return (
            f"both have {pluralize(a.images, a.noun)}, but their names or labels differ (the names are not stored in "
            f"the file of {unnamed})"
        )
    only_a, only_b = sorted(set(a.names) - set(b.names)), sorted(set(b.names) - set(a.names))
    missing = [
        f"{pluralize(len(only), a.noun)} only for {each.model}, such as {join_words(only, most=3)}"
        for each, only in ((a, only_a), (b, only_b))
        if only
    ]
    return ", and ".join(missing) if missing else _label_difference(a, b)


def _label_difference(a: Predictions, b: Predictions) -> str:
    """For sets with the same names."""
    names, labels_a, labels_b = a.names or (), _label_names(a), _label_names(b)
    different = [index for index in range(len(names)) if labels_a[index] != labels_b[index]]
    example = different[0]
    return (
        f"{pluralize(len(different), a.noun)} with another label, such as {names[example]}, which is "
        f"{labels_a[example]} for {a.model} and {labels_b[example]} for {b.model}"
    )


def _label_names(predictions: Predictions) -> list[str]:
    if predictions.classes is None or predictions.labels is None:
        return []
    return [predictions.classes[label] for label in predictions.labels]
