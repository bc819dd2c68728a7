"""Calibration: does a confidence of 90 % mean that 90 % of the answers are right?

The expected calibration error (ECE) is the mean over the images of |accuracy - confidence| of their bin (Naeini et al.
2015; Guo et al. 2017, section 2). It is above 0 even for a perfectly calibrated model, because the accuracy of a bin is
measured on few images; `calibrated_ece` is what such a model would show.

Axes:  image  an evaluated image
       bin    images with similar confidences
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar
from torch import Tensor

from mixlab.evaluation.evaluation import Evaluation
from mixlab.stats.estimate import TAIL, Estimate
from mixlab.stats.intervals import proportion_interval

BINS = 15  # as Guo et al. 2017
_DRAWS = 200


@dataclass(frozen=True, slots=True)
class Bin:
    """Images with similar confidences.

    confidence  their mean confidence in per cent
    accuracy    in per cent, with a 95 % interval over images
    """

    confidence: float
    accuracy: Estimate


def ece_equal_width(evaluation: Evaluation) -> Estimate:
    """The ECE in percentage points, with 15 bins of equal width. It has no interval."""
    bins = np.minimum((evaluation.confidences * BINS).astype(np.int64), BINS - 1)
    return _measured(_ece(bins, evaluation.confidences, evaluation.correct), len(evaluation))


def ece_equal_mass(evaluation: Evaluation) -> Estimate:
    """The ECE in percentage points, with 15 bins of equally many images. It has no interval."""
    bins = _equal_mass_bins(evaluation.confidences)
    return _measured(_ece(bins, evaluation.confidences, evaluation.correct), len(evaluation))


def calibrated_ece(evaluation: Evaluation) -> Estimate:
    """The ECE, with bins of equal mass, of a model with the same confidences that is perfectly calibrated.

    Each image is drawn to be correct with the probability of its confidence, 200 times. The value is the mean, and the
    interval contains 95 % of the draws.
    """
    rng = np.random.default_rng(0)
    bins = _equal_mass_bins(evaluation.confidences)
    draws = [
        _ece(bins, evaluation.confidences, rng.random(len(evaluation), np.float32) < evaluation.confidences)
        for _ in range(_DRAWS)
    ]
    low, high = np.quantile(draws, [TAIL, 1 - TAIL])
    return Estimate(100 * float(np.mean(draws)), 100 * float(low), 100 * float(high), n=len(evaluation), unit="points")


def reliability(evaluation: Evaluation) -> list[Bin]:
    """The bins of equal mass, from the lowest to the highest confidence."""
    bins = _equal_mass_bins(evaluation.confidences)
    counts = np.bincount(bins)
    confidences = np.bincount(bins, evaluation.confidences) / counts
    correct = np.bincount(bins, evaluation.correct)
    return [
        Bin(100 * float(confidence), proportion_interval(float(right), int(count)))
        for confidence, right, count in zip(confidences, correct, counts, strict=True)
    ]


def _equal_mass_bins(confidences: Float[np.ndarray, " image"]) -> Int64[np.ndarray, " image"]:
    """The bin of each image, from 0. There are fewer than 15 bins for fewer than 15 images."""
    order = np.argsort(confidences, kind="stable")
    bins = np.empty(len(confidences), np.int64)
    bins[order] = np.arange(len(confidences)) * min(BINS, len(confidences)) // len(confidences)
    return bins


def _ece(
    bins: Int64[np.ndarray, " image"], confidences: Float[np.ndarray, " image"], correct: Bool[np.ndarray, " image"]
) -> float:
    """From 0 to 1. A bin with n of the N images has the weight n / N."""
    return float(np.abs(np.bincount(bins, correct - confidences)).sum()) / len(bins)


def _measured(ece: float, images: int) -> Estimate:
    return Estimate(100 * ece, low=None, high=None, n=images, unit="points")


_LOG_FACTORS = np.linspace(-4, 4, 65)
"""Logarithms of the factors (inverse temperatures) at which the cross-entropy is added up."""


class TemperatureFit:
    """Fits a temperature to logits that arrive in batches (Guo et al. 2017, section 4.2), without storing them.

        fit = TemperatureFit()
        for logits, labels in batches:
            fit.add(logits, labels)
        fit.temperature

    The cross-entropy, a smooth function of the temperature, is added up for 65 temperatures from 1/55 to 55 and
    interpolated between them. As in `mixlab.evaluation.probes.ridge.fit_temperature`, one additional image that belongs
    to every class equally keeps the optimum finite if all images are classified correctly.
    """

    def __init__(self) -> None:
        self._images = 0
        self._of_label = np.zeros(len(_LOG_FACTORS))
        self._of_mean = np.zeros(len(_LOG_FACTORS))

    def add(self, logits: Float[Tensor, "image class"], labels: Int64[Tensor, " image"]) -> None:
        logits, labels = logits.float(), labels.to(logits.device)
        self._images += len(labels)
        of_label = logits.gather(1, labels[:, None])[:, 0].double().sum().item()
        of_mean = logits.mean(dim=1).double().sum().item()
        for index, factor in enumerate(np.exp(_LOG_FACTORS)):
            normaliser = torch.logsumexp(logits * float(factor), dim=1).double().sum().item()
            self._of_label[index] += factor * of_label - normaliser
            self._of_mean[index] += factor * of_mean - normaliser

    @property
    def temperature(self) -> float:
        """Logits are divided by it."""
        nll = CubicSpline(_LOG_FACTORS, -(self._of_label * self._images + self._of_mean) / (self._images + 1))
        optimum: Any = minimize_scalar(nll, bounds=(_LOG_FACTORS[0], _LOG_FACTORS[-1]), method="bounded")
        return float(np.exp(-optimum.x))
