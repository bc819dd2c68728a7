"""A linear head in closed form: ridge regression onto the classes, and one temperature for its probabilities.

The features are standardised, the classes are numbers, 1 for an image's own and 0 for the others, and the intercept
is not penalised (Hoerl and Kennard, 1970). The answers of such a regression are no logits, so one factor for all of
them, the temperature's inverse, is fitted on validation images (Guo et al. 2017, section 4.2); it changes no order.

Axes:  image  one of a part
       channel  of the features
       class    in the dataset's order
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from mixlab.evaluation.probes.features import Features


@dataclass(frozen=True, eq=False)
class LinearHead:
    weight: Float64[np.ndarray, "class channel"]
    bias: Float64[np.ndarray, " class"]

    def logits(self, features: Float[np.ndarray, "image channel"]) -> Float64[np.ndarray, "image class"]:
        return features @ self.weight.T + self.bias

    def loss(self, of: Features) -> float:
        """Mean cross-entropy, in nats."""
        nll = -log_softmax(self.logits(of.values), axis=1)
        return float(nll[np.arange(len(of.labels)), of.labels].mean())

    def top1(self, of: Features) -> float:
        """Per cent."""
        return 100 * float((self.logits(of.values).argmax(axis=1) == of.labels).mean())

    def scaled_by_temperature(self, temperature: float) -> "LinearHead":
        return LinearHead(self.weight / temperature, self.bias / temperature)


@dataclass(frozen=True, eq=False)
class FittedHead:
    """The head whose ridge validation liked best, with its temperature applied; `tried`: ridge -> top-1 in per cent."""

    head: LinearHead
    ridge: float
    temperature: float
    tried: dict[float, float]


def fit_head(train: Features, validation: Features, classes: int, ridges: Sequence[float]) -> FittedHead:
    """Fitted on `train` alone: `validation` decides the temperature and the ridge, of equally good ones the largest."""
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


def ridge_path(of: Features, classes: int, ridges: Sequence[float]) -> Iterator[tuple[float, LinearHead]]:
    """One head a ridge. A ridge of 1 adds as much to the features' covariance as they have on average themselves.

    All of them share one eigendecomposition, so that a further ridge costs two small products.
    """
    values = of.values.astype(np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    deviation[deviation <= 1e-6 * deviation.max()] = np.inf  # a channel that says nothing gets no weight
    standard = (values - mean) / deviation
    targets = np.eye(classes)[of.labels]
    share = targets.mean(axis=0)
    variances, directions = np.linalg.eigh(standard.T @ standard / len(standard))
    projected = directions.T @ (standard.T @ (targets - share)) / len(standard)
    for ridge in ridges:
        slopes = directions @ (projected / (variances + ridge)[:, None])
        weight = (slopes / deviation[:, None]).T
        yield ridge, LinearHead(weight, share - weight @ mean)


def fit_temperature(answers: Float64[np.ndarray, "image class"], labels: Int64[np.ndarray, " image"]) -> float:
    """That with the least cross-entropy, for targets a little softer than the labels.

    They are the mean over these images and one more, for which every class would be equally right: without it,
    images that are all answered rightly would call for certainty (for two classes: Platt, 1999, section 2.2).
    """
    images, classes = answers.shape
    targets = (images * np.eye(classes)[labels] + 1 / classes) / (images + 1)

    def nll(log_factor: float) -> float:
        return -float((targets * log_softmax(np.exp(log_factor) * answers, axis=1)).sum(axis=1).mean())

    found = minimize_scalar(nll, bounds=(-10, 10), method="bounded")
    return float(np.exp(-found.x))
