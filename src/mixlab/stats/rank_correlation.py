"""Spearman's rank correlation of two orders of the same things."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from mixlab.stats.estimate import TAIL, Estimate

MIN_PAIRS = 5
"""With fewer pairs, no interval excludes much."""


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Spearman's ρ of pairs of numbers, from -1 to 1, with the interval of Bonett and Wright (2000, section 3).

    first, second  at least `MIN_PAIRS` numbers each; tied numbers share their mean rank

    If both orders are equal or reversed, where that interval has no width, it is the interval of the nearest other
    order, in which two neighbours are exchanged, extended to ±1.
    """
    n = len(first)
    ranks = [rankdata(values) for values in (first, second)]
    correlation = float(np.corrcoef(*ranks)[0, 1])
    nearest = 1 - 12 / (n * (n**2 - 1))
    inner = math.copysign(min(abs(correlation), nearest), correlation)
    half = float(ndtri(1 - TAIL)) * math.sqrt((1 + inner**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(inner) + side * half) for side in (-1, 1))
    return Estimate(
        correlation,
        low=-1.0 if correlation < -nearest else low,
        high=1.0 if correlation > nearest else high,
        n=n,
        unit="",
    )
