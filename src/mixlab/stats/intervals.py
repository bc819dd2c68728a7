"""95 % intervals for one number: a mean, a proportion, a median, any statistic of images."""

import math
import statistics
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtri, stdtrit

from mixlab.stats.estimate import TAIL, Estimate


def mean_interval(values: Iterable[float], unit: str, *, least: float = -math.inf) -> Estimate:
    """The mean of independent values in `unit`, such as one time a seed; Student's t (Student, 1908).

    Low and high are None for a single value, and for values that are all equal: three accuracies that agree
    to the last image do not promise a fourth. `least`: what no such value can be below, as no time is below 0.
    """
    values = [float(value) for value in values]
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Estimate(mean, low=None, high=None, n=1, unit=unit)
    spread = statistics.stdev(values)
    if spread == 0:
        return Estimate(mean, low=None, high=None, n=len(values), unit=unit, spread=0.0)
    half = float(stdtrit(len(values) - 1, 1 - TAIL)) * spread / len(values) ** 0.5
    return Estimate(mean, low=max(mean - half, least), high=mean + half, n=len(values), unit=unit, spread=spread)


def proportion_interval(correct: float, n: int) -> Estimate:
    """`correct` out of `n` images in per cent; the score interval (Wilson, 1927).

    `correct` is a count, or the mean of several trainings' counts on the same images. The interval stays inside
    0 .. 100 and keeps a width where all are correct or none is.
    """
    share = correct / n
    z = float(ndtri(1 - TAIL))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Estimate(100 * share, low=100 * low, high=100 * high, n=n, unit="%")


def median_interval(values: Iterable[float], unit: str) -> Estimate:
    """The median of independent values in `unit`, such as times or ratios of times; order statistics (Thompson, 1936).

    Nothing is assumed about the values' distribution. Fewer than six can't reach 95 %: low and high are None.
    """
    ordered = sorted(float(value) for value in values)
    n = len(ordered)
    # The k-th value from below lies above the median with probability P(Binomial(n, 1/2) < k).
    outside = int(np.sum(bdtr(np.arange(n), n, 0.5) <= TAIL))
    return Estimate(
        statistics.median(ordered),
        low=ordered[outside - 1] if outside else None,
        high=ordered[-outside] if outside else None,
        n=n,
        unit=unit,
        spread=statistics.stdev(ordered) if n > 1 else None,
    )


def bootstrap_interval(
    *images: NDArray[Any],
    statistic: Callable[..., float],
    unit: str,
    resamples: int = 2_000,
    seed: int = 0,
) -> Estimate:
    """Any statistic of images, such as macro-F1; percentile bootstrap over them (Efron, 1979).

    `images` are arrays with one entry an image along their first axis, for example labels and predictions, and
    `statistic(*images)` is a number in `unit`; it must be defined where a resample lacks a class. Low and high
    are None where every resample gives the same, as a perfect score does: that is no evidence of perfection.
    """
    random = np.random.default_rng(seed)
    n = len(images[0])
    replicates = []
    for _ in range(resamples):
        drawn = random.integers(n, size=n)
        replicates.append(statistic(*(array[drawn] for array in images)))
    low, high = (float(end) for end in np.quantile(replicates, [TAIL, 1 - TAIL]))
    value = float(statistic(*images))
    if low == high:
        return Estimate(value, low=None, high=None, n=n, unit=unit)
    return Estimate(value, low=low, high=high, n=n, unit=unit)
