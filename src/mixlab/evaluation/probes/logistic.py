"""Logistic regression on features: softmax regression with an L2 penalty, fitted with L-BFGS (Liu and Nocedal, 1989).

The features are standardised, and the intercept is not penalised. The penalty is selected on validation images.

Axes:  image    an image of a split
       channel  of the features
       class    in the order of the data set
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.optimize import minimize
from scipy.special import log_softmax

from mixlab.evaluation.probes.classifier import FittedProbe, merge
from mixlab.evaluation.probes.features import Features
from mixlab.evaluation.probes.ridge import LinearHead, standardisation

PENALTIES = tuple(float(f"1e{exponent}") for exponent in range(-5, 2))

_MAX_GRADIENT = 1e-6
_MAX_ITERATIONS = 1_000


@dataclass(frozen=True)
class Logistic:
    """Logistic regression with one of several penalties.

    penalties  candidates, at least one; the largest wins a tie
    """

    penalties: tuple[float, ...] = PENALTIES
    name = "logistic"
    seeds = (0,)
    selects = True

    def description(self, noun: str) -> str:
        return f"Logistic regression on the training {noun}s"

    def fit(self, train: Features, validation: Features | None, classes: Sequence[str], seed: int = 0) -> FittedProbe:
        assert validation is not None  # `selects`
        tried: dict[float, float] = {}
        for fitted in logistic_path(train, len(classes), self.penalties):
            tried[fitted.penalty] = fitted.head.top1(validation)
        penalty = max(tried, key=lambda each: (tried[each], each))
        images = merge(train, validation)
        (final,) = logistic_path(images, len(classes), [penalty])
        notes = () if final.converged else (f"L-BFGS did not converge in {_MAX_ITERATIONS:,} iterations.",)
        return FittedProbe(final.head, len(images.labels), penalty, tried, notes)


@dataclass(frozen=True, eq=False)
class FittedLogistic:
    """The minimum for one penalty.

    loss       the mean cross-entropy in nats, without the penalty term
    converged  whether the largest component of the gradient is at most 1e-6
    """

    penalty: float
    head: LinearHead
    loss: float
    converged: bool


def logistic_path(features: Features, classes: int, penalties: Sequence[float]) -> Iterator[FittedLogistic]:
    """Yield the minimum for each penalty, from the largest to the smallest; each starts at the one before it.

    Minimised is  mean cross-entropy + penalty / 2 * sum of the squared coefficients  of the standardised features. In
    scikit-learn's terms, C is 1 / (penalty * number of images).
    """
    mean, deviation = standardisation(features.values)
    standard = (features.values - mean) / deviation
    targets = np.eye(classes)[features.labels]
    start = np.zeros((standard.shape[1] + 1, classes))
    for penalty in sorted(penalties, reverse=True):
        result = minimize(
            _objective,
            start.ravel(),
            args=(standard, targets, features.labels, penalty),
            jac=True,
            method="L-BFGS-B",
            options={"gtol": _MAX_GRADIENT, "ftol": 0.0, "maxiter": _MAX_ITERATIONS, "maxfun": 2 * _MAX_ITERATIONS},
        )
        start = result.x.reshape(start.shape)
        weight = (start[:-1] / deviation[:, None]).T
        squares = float((start[:-1] ** 2).sum())
        yield FittedLogistic(
            penalty=penalty,
            head=LinearHead(weight, start[-1] - weight @ mean),
            loss=float(result.fun) - penalty / 2 * squares,
            converged=bool(np.abs(result.jac).max() <= _MAX_GRADIENT),
        )


def _objective(
    flat: Float64[np.ndarray, " coefficient"],
    standard: Float64[np.ndarray, "image channel"],
    targets: Float64[np.ndarray, "image class"],
    labels: Int64[np.ndarray, " image"],
    penalty: float,
) -> tuple[float, Float64[np.ndarray, " coefficient"]]:
    """The objective and its gradient. The last row of the coefficients is the intercept."""
    images, classes = targets.shape
    coefficients = flat.reshape(-1, classes)
    slopes, intercept = coefficients[:-1], coefficients[-1]
    log_probabilities = log_softmax(standard @ slopes + intercept, axis=1)
    loss = -float(log_probabilities[np.arange(images), labels].mean()) + penalty / 2 * float((slopes**2).sum())
    residual = (np.exp(log_probabilities) - targets) / images
    gradient = np.vstack([standard.T @ residual + penalty * slopes, residual.sum(axis=0)])
    return loss, gradient.ravel()
