"""The interface of probes: methods that fit a classifier to the frozen features of a model.

Axes:  image    an image of a split
       channel  of the features
       class    in the order of the data set
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int64

from mixlab.evaluation.probes.features import Features


@runtime_checkable
class Classifier(Protocol):
    """A classifier on features."""

    def predict(self, values: Float[np.ndarray, "image channel"]) -> Int64[np.ndarray, " image"]:
        """The class index of each image."""
        ...


@dataclass(frozen=True, eq=False)
class FittedProbe:
    """A fitted classifier, and how its settings were selected.

    images   number of images that the classifier is fitted to
    penalty  the selected penalty; None for a method without one
    tried    validation accuracy in per cent of every candidate penalty
    notes    sentences for the user
    """

    classifier: Classifier
    images: int
    penalty: float | None = None
    tried: dict[float, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@runtime_checkable
class Probe(Protocol):
    """A method that fits a classifier to features."""

    @property
    def name(self) -> str:
        """As on the command line, such as "fewshot:5"."""
        ...

    def description(self, noun: str) -> str:
        """The classifier and its training images, as the subject of a sentence. A sample is a `noun`."""
        ...

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of random training images; (0,) for a method without random numbers."""
        ...

    @property
    def selects(self) -> bool:
        """Whether a setting is selected on validation images."""
        ...

    def fit(self, train: Features, validation: Features | None, classes: Sequence[str], seed: int = 0) -> FittedProbe:
        """Fit the classifier. In the end it is fitted to the images of both splits.

        validation  selects the settings of a method that `selects`, which needs it
        classes     class names; labels are indices into them

        Raises UserError if there are too few images.
        """
        ...


def merge(train: Features, validation: Features | None) -> Features:
    """The images of both splits."""
    if validation is None:
        return train
    return Features(
        np.concatenate([train.values, validation.values]),
        np.concatenate([train.labels, validation.labels]),
        train.unreadable | validation.unreadable,
        train.noun,
    )
