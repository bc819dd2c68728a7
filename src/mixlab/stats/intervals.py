"""95 % intervals for one quantity: a mean, a proportion or a median."""

import math
import statistics
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, ndtri, stdtrit

from mixlab.stats.estimate import TAIL, Estimate


def mean_interval(values: Iterable[float], unit: str, *, least: float = -math.inf, most: float = math.inf) -> Estimate:
    """Mean of independent values with Student's t interval (Student, 1908), for example one time per seed.

    values: at least one number, in `unit`.
    least:  lower bound of the quantity, for example 0 for a time; `low` is clipped to it.
    most:   upper bound of the quantity, for example 100 for an accuracy in per cent; `high` is clipped to it.

    `low` and `high` are None for a single value, and if all values are equal: three identical accuracies do not
    show that the variance is 0.
    """
    values = [float(value) for value in values]
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Estimate(mean, low=None, high=None, n=1, unit=unit)
    spread = statistics.stdev(values)
    if spread == 0:
        return Estimate(mean, low=None, high=None, n=len(values), unit=unit, spread=0.0)
    half = float(stdtrit(len(values) - 1, 1 - TAIL)) * spread / len(values) ** 0.5
    return Estimate(
        mean, low=max(mean - half, least), high=min(mean + half, most), n=len(values), unit=unit, spread=spread
    )


def mean_interval_of_defined(values: Iterable[float], unit: str, *, least: float, most: float) -> Estimate | None:
    """`mean_interval` of the values that are not NaN; None without any."""
    defined = [value for value in values if not math.isnan(value)]
    return mean_interval(defined, unit, least=least, most=most) if defined else None


def proportion_interval(correct: float, n: float) -> Estimate:
    """The proportion `correct / n` in per cent with the score interval (Wilson, 1927).

    correct: number of correct images, or its mean over several trainings evaluated on the same images.
    n:       number of images, or the effective number of a weighted mean, which need not be an integer.

    The interval stays within 0 to 100 and has a positive width even if `correct` is 0 or `n`.
    """
    share = correct / n
    z = float(ndtri(1 - TAIL))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Estimate(100 * share, low=100 * low, high=100 * high, n=round(n), unit="%")


def mean_proportion_interval(correct: ArrayLike, n: ArrayLike) -> Estimate:
    """Mean of the proportions `correct / n` of several groups in per cent, such as the recalls of all classes.

    correct: for each group, the number of correct images.
    n:       for each group, the number of images, at least 1.

    The interval is the adjusted Wald interval of Price and Bonett (2004): 2 correct and 2 wrong images are shared among
    the groups. Unlike theirs, the variance of a group is unbiased, which matters with few images in each of many
    groups. The estimate itself is not adjusted. It needs the counts alone.
    Coverage: `benchmarks/interval_coverage.py`.
    """
    counts, images = np.asarray(correct, dtype=float), np.asarray(n, dtype=float)
    groups = len(counts)
    adjusted = images + 4 / groups
    shares = (counts + 2 / groups) / adjusted
    variance = shares * (1 - shares) / np.maximum(adjusted - 1, 1)
    half = float(ndtri(1 - TAIL)) * math.sqrt(variance.sum()) / groups
    low, high = max(0.0, shares.mean() - half), min(1.0, shares.mean() + half)
    value = float((counts / images).mean())
    return Estimate(100 * value, low=100 * float(low), high=100 * float(high), n=round(images.sum()), unit="%")


def median_interval(values: Iterable[float], unit: str) -> Estimate:
    """Median of independent values in `unit`, such as times, with an interval of order statistics (Thompson, 1936).

    No assumption is made about the distribution. `low` and `high` are None for fewer than six values, which can't
    reach 95 % coverage.
    """
    ordered = sorted(float(value) for value in values)
    n = len(ordered)
    # The k-th smallest value is above the median with probability P(Binomial(n, 1/2) < k).
    outside = int(np.sum(bdtr(np.arange(n), n, 0.5) <= TAIL))
    return Estimate(
        statistics.median(ordered),
        low=ordered[outside - 1] if outside else None,
        high=ordered[-outside] if outside else None,
        n=n,
        unit=unit,
        spread=statistics.stdev(ordered) if n > 1 else None,
    )
