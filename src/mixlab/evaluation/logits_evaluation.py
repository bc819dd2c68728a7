"""Evaluate saved logits: every metric again, without the model."""

from pathlib import Path

import numpy as np

from mixlab.data.dataset import Split
from mixlab.data.sources import open_as_provided
from mixlab.errors import UserError
from mixlab.evaluation.baselines import majority_accuracy
from mixlab.evaluation.logits_file import SUFFIX, LogitsEvaluation, evaluate_logits
from mixlab.evaluation.model_evaluation import (
    Calibrated,
    ModelEvaluation,
    check_wanted,
    published_results,
)
from mixlab.evaluation.selective import DEFAULT_ACCURACY
from mixlab.evaluation.views import Views
from mixlab.measure import machine
from mixlab.report.text import join_words, pluralize


def is_logits_file(source: str) -> bool:
    """Whether `source` is a file of logits, by its name."""
    return source.endswith(SUFFIX)


def evaluate_logits_file(source: str, data: str | None, *, wanted: float = DEFAULT_ACCURACY) -> ModelEvaluation:
    """Evaluate a file that `mixlab evaluate --save-logits` wrote.

    data    the name of the data set with the images, for the report; None: without images
    wanted  the accuracy in per cent that answers above a confidence should have

    Raises UserError if the file is damaged, or if `data` has other images or labels.
    """
    check_wanted(wanted)
    saved = evaluate_logits(Path(source).expanduser())
    labels = saved.evaluation.labels
    calibrated = None
    if saved.validation and saved.temperature and saved.scaled:
        calibrated = Calibrated(saved.validation, saved.temperature, saved.scaled)
    return ModelEvaluation(
        source=source,
        model=saved.header.model,
        data=saved.header.data,
        noun=saved.header.noun,
        evaluated=saved.header.evaluated,
        views=Views(),
        split=None if data is None else _matching_images(source, saved, data),
        names=saved.names,
        evaluation=saved.evaluation,
        calibrated=calibrated,
        real=None,
        left_out=0,
        near_copies=None,
        notes=(f"Recomputed from the logits of {saved.header.source}.",),
        majority=majority_accuracy(labels, labels),
        wanted=wanted,
        expected=published_results(saved.header.source),
        run=None,
        plan=None,
        environment=machine.describe(machine.pick_device("cpu")),
    )


def _matching_images(source: str, saved: LogitsEvaluation, data: str) -> Split:
    """The images of the logits, by name. Raises UserError if there are others, or with other labels."""
    dataset = open_as_provided(data)
    place = {name: (split, index) for split in dataset.splits.values() for index, name in enumerate(split.names)}
    missing = [name for name in saved.names if name not in place]
    if missing:
        raise UserError(
            f"{source} has logits of {pluralize(len(missing), saved.header.noun)} that {data} lacks, such as "
            f"{join_words(missing, 3)}: give the data set that it was saved from, {saved.header.data}."
        )
    found = [place[name] for name in saved.names]
    classes = saved.header.classes
    for name, (split, index), label in zip(saved.names, found, saved.evaluation.labels, strict=True):
        if dataset.classes[split.labels[index]] != classes[label]:
            raise UserError(
                f'{data} has {name} as "{dataset.classes[split.labels[index]]}", but {source} as "{classes[label]}": '
                "evaluate the model again on these labels."
            )
    images = [split.images[index] for split, index in found]
    return Split(list(saved.names), np.asarray(saved.evaluation.labels), images)
