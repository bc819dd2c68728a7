"""Finds the images that a model is evaluated on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from mixlab.data.dataset import Dataset
from mixlab.data.readers.imagenet_variants import VARIANTS
from mixlab.data.sources import (
    Kind,
    is_same_source,
    open_as_provided,
    open_dataset,
    open_for_evaluation,
    open_with_assignment,
)
from mixlab.data.subset import subset
from mixlab.errors import UserError
from mixlab.evaluation.restricted_classes import class_columns
from mixlab.evaluation.training_images import digests_of, training_images_of
from mixlab.runs.folder import Run, open_run
from mixlab.tasks.tasks import TASKS
from mixlab.weights.source import task_of
from mixlab.zoo.cards import find_card
from mixlab.zoo.class_names import synsets


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """The images of an evaluation.

    dataset    its "test" split is evaluated; "validation" may exist
    evaluated  which images these are, in words
    columns    the columns of the logits that belong to the classes of the dataset; None: all, in the same order
    """

    dataset: Dataset
    evaluated: str
    columns: Int64[np.ndarray, " restricted_class"] | None = None


def run_of(source: str) -> Run | None:
    """The run whose folder `source` is, or None. Raises UserError if the run is unfinished or damaged."""
    path = Path(source).expanduser()
    return open_run(path) if any((path / name).exists() for name in ("status.json", "recipe.toml")) else None


def open_evaluation_data(source: str, data: str | None, classes: tuple[str, ...]) -> EvaluationData:
    """Open the images on which the weights of `source` are evaluated.

    source   as for `mixlab.load`
    data     the name of a data set; None, or the data set of the training: the test images that the run held out
    classes  of the weights

    Classes are matched by name, or by WordNet identifier if published weights have ImageNet's classes. Raises UserError
    if the data cannot be read, has other classes, or is not given for weights that are not a run.
    """
    run, kinds = run_of(source), TASKS[task_of(source)].kinds
    if data is not None and data.partition(":")[0] in VARIANTS:
        return _open_variant(source, data, classes)
    if run is not None:
        trained_on = run.recipe["data"]
        if data is None or is_same_source(data, trained_on):
            return EvaluationData(
                _open_held_out(run, trained_on, classes, kinds), "the test split that the run held out"
            )
        is_recorded = run.training_images.is_file()
        dataset = open_for_evaluation(data, classes, kinds)
        trained = "was not trained on" if is_recorded else "may have been trained on"
        return EvaluationData(dataset, f"{dataset.noun}s that the run {trained}")
    if data is None:
        raise UserError(
            f"{source} is not the folder of a run, which has test images of its own: give the images with --data, for "
            "example --data folder:PATH."
        )
    dataset = _open_by_class_names(source, data, classes, kinds)
    return EvaluationData(dataset, f"{dataset.noun}s that the model may have been trained on")


def _open_variant(source: str, data: str, classes: tuple[str, ...]) -> EvaluationData:
    """A test set for models of ImageNet, which is evaluated with the logits of its own classes only."""
    dataset, card = open_as_provided(data), find_card(source)
    columns = class_columns(dataset.classes, (synsets(card.labels) if card else ()) or classes)
    return EvaluationData(dataset, f"a test set with {len(columns):,} classes of ImageNet", columns)


def _open_by_class_names(source: str, data: str, classes: tuple[str, ...], kinds: Mapping[str, Kind]) -> Dataset:
    try:
        return open_for_evaluation(data, classes, kinds)
    except UserError:
        card = find_card(source)
        if not card or not synsets(card.labels):
            raise
        return open_for_evaluation(data, synsets(card.labels))


def _open_held_out(run: Run, trained_on: str, classes: tuple[str, ...], kinds: Mapping[str, Kind]) -> Dataset:
    """The data set of the training, with the splits of the run."""
    if run.split_assignment is not None:
        return open_with_assignment(trained_on, run.split_assignment, classes, kinds)
    dataset = open_dataset(trained_on, kinds)
    if dataset.split_by_mixlab:
        raise UserError(
            f"{run.path} has no split.json, so the images of {trained_on} that it held out are unknown: copy the run "
            "again, or pass other images with --data."
        )
    if chosen := run.recipe.get("subset", {}).get("classes"):
        dataset = subset(dataset, classes=chosen, per_class=None, share=None, seed=0)
    return dataset.relabelled(classes)


def with_unseen_validation(dataset: Dataset, source: str, *, quiet: bool) -> Dataset:
    """The dataset with only those validation images on which the weights were not trained; without the split if none.

    Weights may have been selected on these images, which has little effect on a temperature or a threshold.
    """
    if "validation" not in dataset.splits:
        return dataset
    validation, learned = dataset.splits["validation"], training_images_of(source)
    unseen = validation.subset(np.flatnonzero(~learned.contains_trained(digests_of(validation, quiet=quiet))))
    others = {name: split for name, split in dataset.splits.items() if name != "validation"}
    return replace(dataset, splits=others | {"validation": unseen} if len(unseen) else others)
