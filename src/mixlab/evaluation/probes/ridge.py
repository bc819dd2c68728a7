"""A linear head in closed form: ridge regression onto one-hot classes, followed by temperature scaling.

The features are standardised, the targets are one-hot vectors, and the intercept is not penalised (Hoerl and Kennard,
1970). The outputs of a least-squares fit are not calibrated logits, so they are divided by a temperature that is
fitted on validation images (Guo et al. 2017, section 4.2). The temperature does not change the order of the classes.

Axes:  image    an image of a split
       channel  of the features
       class    in the order of the data set
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from mixlab.evaluation.probes.classifier import FittedProbe, merge
from mixlab.evaluation.probes.features import Features

RIDGES = tuple(float(f"1e{exponent}") for exponent in range(-5, 5))
"""The default candidates for the penalty."""

_BLOCK = 4096
"""Images that are classified at the same time, so that the logits of all images are not in memory."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A linear classifier on features."""

    weight: Float64[np.ndarray, "class channel"]
    bias: Float64[np.ndarray, " class"]

    def logits(self, features: Float[np.ndarray, "image channel"]) -> Float64[np.ndarray, "image class"]:
        return features @ self.weight.T + self.bias

    def predict(self, values: Float[np.ndarray, "image channel"]) -> Int64[np.ndarray, " image"]:
        """The class index of each image."""
        starts = range(0, len(values), _BLOCK)
        return np.concatenate([self.logits(values[start : start + _BLOCK]).argmax(axis=1) for start in starts])

    def loss(self, features: Features) -> float:
        """The mean cross-entropy in nats."""
        nll = -log_softmax(self.logits(features.values), axis=1)
        return float(nll[np.arange(len(features.labels)), features.labels].mean())

    def top1(self, features: Features) -> float:
        """The accuracy in per cent."""
        return 100 * float((self.predict(features.values) == features.labels).mean())

    def scaled_by_temperature(self, temperature: float) -> "LinearHead":
        """This head with logits divided by `temperature`."""
        return LinearHead(self.weight / temperature, self.bias / temperature)


@dataclass(frozen=True, eq=False)
class FittedHead:
    """The result of `fit_head`.

    head         with the temperature already applied
    ridge        the selected penalty
    temperature  fitted on the validation images
    tried        validation accuracy in per cent of every candidate penalty
    """

    head: LinearHead
    ridge: float
    temperature: float
    tried: dict[float, float]


@dataclass(frozen=True)
class Ridge:
    """Ridge regression with one of several penalties.

    ridges  candidate penalties, at least one; the largest wins a tie
    """

    ridges: tuple[float, ...] = RIDGES
    name = "ridge"
    seeds = (0,)
    selects = True

    def description(self, noun: str) -> str:
        return f"A ridge classifier on the training {noun}s"

    def fit(self, train: Features, validation: Features | None, classes: Sequence[str], seed: int = 0) -> FittedProbe:
        assert validation is not None  # `selects`
        selected = fit_head(train, validation, len(classes), self.ridges)
        images = merge(train, validation)
        ((_, head),) = ridge_path(images, len(classes), [selected.ridge])
        return FittedProbe(head, len(images.labels), selected.ridge, selected.tried)


def fit_head(train: Features, validation: Features, classes: int, ridges: Sequence[float]) -> FittedHead:
    """Fit one head for each penalty on `train`, and select the one with the highest accuracy on `validation`.

    classes  number of classes
    ridges   candidate penalties, at least one; the largest wins a tie

    The temperature is fitted on `validation` as well.
    """
    tried: dict[float, float] = {}
    best: tuple[float, LinearHead] | None = None
    for ridge, head in ridge_path(train, classes, sorted(ridges)):
        tried[ridge] = head.top1(validation)
        if best is None or tried[ridge] >= tried[best[0]]:
            best = ridge, head
    assert best is not None  # a recipe has at least one ridge
    ridge, head = best
    temperature = fit_temperature(head.logits(validation.values), validation.labels)
    return FittedHead(head.scaled_by_temperature(temperature), ridge, temperature, tried)


def ridge_path(features: Features, classes: int, ridges: Sequence[float]) -> Iterator[tuple[float, LinearHead]]:
    """Yield each penalty with its head.

    The penalty is added to the eigenvalues of the covariance of the standardised features, so a penalty of 1 equals
    their mean. All heads share one eigendecomposition, so each further penalty costs only two small matrix products.
    """
    mean, deviation = standardisation(features.values)
    standard = (features.values - mean) / deviation
    targets = np.eye(classes)[features.labels]
    share = targets.mean(axis=0)
    variances, directions = np.linalg.eigh(standard.T @ standard / len(standard))
    projected = directions.T @ (standard.T @ (targets - share)) / len(standard)
    for ridge in ridges:
        slopes = directions @ (projected / (variances + ridge)[:, None])
        weight = (slopes / deviation[:, None]).T
        yield ridge, LinearHead(weight, share - weight @ mean)


def standardisation(
    values: Float[np.ndarray, "image channel"],
) -> tuple[Float64[np.ndarray, " channel"], Float64[np.ndarray, " channel"]]:
    """Mean and standard deviation of each channel. That of a constant channel is infinite, so its weight becomes 0."""
    mean, deviation = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    deviation[deviation <= 1e-6 * deviation.max()] = np.inf
    return mean, deviation


def fit_temperature(logits: Float64[np.ndarray, "image class"], labels: Int64[np.ndarray, " image"]) -> float:
    """The temperature with the lowest cross-entropy against smoothed labels.

    The smoothing is that of one additional image that belongs to every class equally. Without it, the optimum is a
    temperature of 0 if all images are classified correctly (for two classes: Platt, 1999, section 2.2).
    """
    images, classes = logits.shape
    targets = (images * np.eye(classes)[labels] + 1 / classes) / (images + 1)

    def nll(log_factor: float) -> float:
        return -float((targets * log_softmax(np.exp(log_factor) * logits, axis=1)).sum(axis=1).mean())

    optimum: Any = minimize_scalar(nll, bounds=(-10, 10), method="bounded")
    return float(np.exp(-optimum.x))
