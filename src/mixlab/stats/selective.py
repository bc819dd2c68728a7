"""Selective classification: answer only above a confidence, so that the answers reach a wanted accuracy.

Axes:  image  an image of a calibration sample, drawn from the same distribution as the images to come
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

DELTA = 0.05
"""The probability that the guarantee fails, over the draw of the calibration sample."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The lowest confidence above which the accuracy is guaranteed.

    confidence  images with at least this confidence are answered, from 0 to 1
    coverage    the share of the calibration sample that is answered, in per cent
    accuracy    of these answers, in per cent
    guaranteed  lower bound of the accuracy on new images, in per cent, with a probability of 95 %
    images      the size of the calibration sample
    """

    confidence: float
    coverage: float
    accuracy: float
    guaranteed: float
    images: int


def guaranteed_threshold(
    confidences: NDArray[np.floating], correct: NDArray[np.bool_], accuracy: float
) -> Threshold | None:
    """The threshold with the highest coverage that a binary search finds, whose accuracy is guaranteed.

    confidences: (image,) from 0 to 1.
    correct:     (image,) whether the answer is correct.
    accuracy:    the wanted accuracy in per cent, below 100.

    This is the algorithm SGR of Geifman and El-Yaniv (2017, section 3): each of the log2(n) tested thresholds has an
    exact binomial bound at the level 0.05 / log2(n), so that all hold together with a probability of 95 %. None if no
    tested threshold reaches the accuracy.
    """
    order = np.argsort(-confidences, kind="stable")
    descending, errors = confidences[order], np.cumsum(~correct[order])
    images = len(order)
    steps = _steps(images)
    low, high = 0, images + 1  # numbers of answered images; `low` reaches the accuracy and `high` does not
    found = None
    for _ in range(steps):
        tested = (low + high) // 2
        if tested == low:
            break
        threshold = descending[tested - 1]
        answered = int(np.searchsorted(-descending, -threshold, side="right"))  # ties are answered as well
        wrong = int(errors[answered - 1])
        guaranteed = 100 * _lower_bound(answered - wrong, answered, DELTA / steps)
        if guaranteed >= accuracy:
            low = tested
            found = Threshold(
                confidence=float(threshold),
                coverage=100 * answered / images,
                accuracy=100 * (answered - wrong) / answered,
                guaranteed=guaranteed,
                images=images,
            )
        else:
            high = tested
    return found


def images_needed(accuracy: float, images: int) -> int:
    """How many calibration images must be answered, all correctly, to guarantee `accuracy` per cent.

    images: the size of the calibration sample, on which the number of tested thresholds depends.
    """
    return math.ceil(math.log(DELTA / _steps(images)) / math.log(accuracy / 100))


def risk_coverage(
    confidences: NDArray[np.floating], correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(coverage, accuracy) in per cent if only the 1, 2, ... most confident images are answered; ties keep their order.

    The curve of the complementary risk is that of El-Yaniv and Wiener (2010).
    """
    answered = np.arange(1, len(correct) + 1)
    right = np.cumsum(correct[np.argsort(-confidences, kind="stable")])
    return 100 * answered / len(correct), 100 * right / answered


def _steps(images: int) -> int:
    """The largest number of tested thresholds."""
    return max(math.ceil(math.log2(images)), 1)


def _lower_bound(correct: int, answered: int, delta: float) -> float:
    """The exact lower bound of a proportion at the level 1 - delta (Clopper and Pearson, 1934), from 0 to 1."""
    return float(betaincinv(correct, answered - correct + 1, delta)) if correct else 0.0
