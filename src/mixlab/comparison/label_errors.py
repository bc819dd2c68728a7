"""Which labels of a dataset are probably wrong: `mixlab data labels`.

found = find_label_errors(open_dataset("folder:pets"), "mixer_b16.goog_in21k", 5, quiet=False, log=print)
found.suspects, found.wrong_share
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from mixlab.comparison.confident_learning import (
    estimated_counts,
    normalized_margin,
    prune_by_noise_rate,
    self_confidence,
    wrong_label_share,
)
from mixlab.comparison.label_predictions import LabelPredictions, predict_with_heads, predict_with_trainings
from mixlab.data.dataset import Dataset
from mixlab.measure import machine
from mixlab.report.progress import Log
from mixlab.report.text import pluralize
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval
from mixlab.training.recipes.choose import FROM_SCRATCH, SMALL, best_accuracy_per_mac, median_short_side
from mixlab.weights.source import is_pretrained

FOLDS = 5
SCHEMA = 1

LIMITS = (
    "The model is the measure: an image is suspected if the model predicts another class for it with confidence. Where "
    "the model confuses two classes, correct labels are suspected and the estimated share is too high. Errors that the "
    "model makes as well are not found: a confusion of two classes that most of the labels share, wrong labels that "
    "the weights were trained with, and objects of a class that the dataset does not have. The interval is over "
    "images, so it covers none of this. Look at each image before you change its label."
)


@dataclass(frozen=True)
class Suspect:
    """An image whose label is probably wrong.

    index              in `LabelErrors.predictions.images`
    name, split        of the image
    label              the name of the given class
    suggested          the name of the most probable class
    confidence         the probability of the suggested class, 0 to 1
    label_probability  that of the given class
    """

    index: int
    name: str
    split: str
    label: str
    suggested: str
    confidence: float
    label_probability: float

    def to_dict(self) -> dict[str, Any]:
        """The entry in results.json."""
        return {key: value for key, value in asdict(self).items() if key != "index"}


@dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """The result of `find_label_errors`.

    dataset      with all images
    model        the name of the weights or of the trained model
    trained      whether the model was trained on these images, out of fold
    folds        the number of folds
    environment  the machine and the library versions, see `mixlab.measure.machine.describe`
    """

    dataset: Dataset
    model: str
    trained: bool
    folds: int
    predictions: LabelPredictions
    environment: Mapping[str, Any]

    @property
    def labels(self) -> Int64[np.ndarray, " image"]:
        """The given labels of the predicted images."""
        return self.predictions.images.labels

    @cached_property
    def margins(self) -> Float[np.ndarray, " image"]:
        """See `normalized_margin`."""
        return normalized_margin(self.labels, self.predictions.probabilities)

    @cached_property
    def label_probabilities(self) -> Float[np.ndarray, " image"]:
        """See `self_confidence`."""
        return self_confidence(self.labels, self.predictions.probabilities)

    @cached_property
    def suspects(self) -> tuple[Suspect, ...]:
        """The images that `prune_by_noise_rate` selects, those with the lowest margin first."""
        selected = np.flatnonzero(prune_by_noise_rate(self.labels, self.predictions.probabilities))
        return tuple(map(self._suspect, selected[np.argsort(self.margins[selected], kind="stable")].tolist()))

    @cached_property
    def wrong_share(self) -> Estimate:
        """See `wrong_label_share`."""
        predictions = self.predictions
        return wrong_label_share(self.labels, predictions.probabilities, predictions.group_ids)

    @cached_property
    def counts(self) -> Int64[np.ndarray, "class class"]:
        """See `estimated_counts`."""
        return estimated_counts(self.labels, self.predictions.probabilities)

    @property
    def agreement(self) -> Estimate:
        """The share of images, in per cent, whose label is the most probable class."""
        correct = self.predictions.probabilities.argmax(axis=1) == self.labels
        return proportion_interval(int(correct.sum()), len(correct))

    @property
    def method(self) -> str:
        """Where the probabilities come from, as a sentence."""
        if self.trained:
            return (
                f"{self.model} was trained {self.folds} times, each time without one fold of the training images. "
                "Every image is predicted by trainings that did not see it."
            )
        return (
            f"Linear heads were fitted on features of {self.model} in {self.folds} folds. Every image is predicted by "
            "a head that was not fitted to it or to a copy of it."
        )

    @property
    def conclusion(self) -> str:
        """How many labels are suspected, in one sentence."""
        count = f"{len(self.suspects):,}" if self.suspects else "None"
        verb = "are" if len(self.suspects) > 1 else "is"
        return f"{count} of {pluralize(len(self.labels), 'label')} {verb} suspected to be wrong."

    @property
    def estimate(self) -> str:
        """The estimated share of wrong labels and how well the model agrees with the labels, in two sentences."""
        share = self.wrong_share
        interval = "" if share.low is None else f" (95 % interval over images: {share.low:.1f} to {share.high:.1f} %)"
        return (
            f"Estimated share of wrong labels: {share.value:.1f} %{interval}. This is too high if the model confuses "
            f"classes: its most probable class is the label of {self.agreement.value:.1f} % of the images."
        )

    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        return {
            "schema": SCHEMA,
            "data": {
                "name": self.dataset.name,
                "fingerprint": self.dataset.fingerprint,
                "classes": list(self.dataset.classes),
                "images": {split: len(images) for split, images in self.dataset.splits.items()},
            },
            "model": self.model,
            "trained": self.trained,
            "folds": self.folds,
            "predicted": len(self.labels),
            "left_out": self.predictions.left_out,
            "notes": [*self.dataset.notes, *self.predictions.notes],
            "wrong_share": asdict(self.wrong_share),
            "agreement": asdict(self.agreement),
            "estimated_counts": self.counts.tolist(),
            "suspects": [suspect.to_dict() for suspect in self.suspects],
            "commit": self.environment["commit"],
            "device": self.environment["device"],
        }

    def _suspect(self, index: int) -> Suspect:
        images, classes = self.predictions.images, self.dataset.classes
        suggested = int(self.predictions.probabilities[index].argmax())
        return Suspect(
            index=index,
            name=images.names[index],
            split=self.predictions.splits[index],
            label=classes[images.labels[index]],
            suggested=classes[suggested],
            confidence=float(self.predictions.probabilities[index, suggested]),
            label_probability=float(self.label_probabilities[index]),
        )


def find_label_errors(dataset: Dataset, model: str | None, folds: int, *, quiet: bool, log: Log) -> LabelErrors:
    """Find the labels of all splits that are probably wrong.

    dataset  the result of `open_dataset`
    model    weights whose features are used, or a model to train from scratch; None: chosen by the image size
    folds    number of folds, at least 2
    quiet    no progress bars
    log      receives one sentence for each step

    Raises UserError if the model can't be loaded or trained, an image can't be read, no image of a class is left that
    the weights have not learned from, or a class has fewer different images than there are folds.
    """
    name = model or default_model(dataset)
    pretrained = is_pretrained(name)
    predict = predict_with_heads if pretrained else predict_with_trainings
    return LabelErrors(
        dataset=dataset,
        model=name,
        trained=not pretrained,
        folds=folds,
        predictions=predict(dataset, name, folds, quiet=quiet, log=log),
        environment=machine.describe(machine.pick_device()),
    )


def default_model(dataset: Dataset) -> str:
    """A model to train for small images, published weights for larger ones."""
    is_small = median_short_side(dataset.splits["train"]) <= SMALL
    return FROM_SCRATCH if is_small else best_accuracy_per_mac().name
