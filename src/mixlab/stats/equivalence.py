"""Whether two models are equally accurate up to a margin: two one-sided tests (Schuirmann, 1987).

A difference that is not significant is no evidence of equal accuracies. Equivalence is a claim of its own, with an
error rate of its own: if the true difference is the margin or more, equivalence is shown in at most 5 % of the
comparisons.
"""

import math
from dataclasses import dataclass

import numpy as np

from mixlab.stats.components import Correctness
from mixlab.stats.crossed import crossed_difference
from mixlab.stats.estimate import RESAMPLES

LEVEL = 0.05
"""The error rate of each of the two one-sided tests."""


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Evidence that the difference of two models lies within (-margin, margin). All but `p` in percentage points.

    margin     the largest difference that is irrelevant in practice, chosen before the comparison
    low, high  the 90 % interval of the difference
    p          the larger of the two one-sided p-values; below 0.05 if and only if the 90 % interval is within the
               margin
    """

    margin: float
    low: float
    high: float
    p: float

    @property
    def is_shown(self) -> bool:
        return self.p < LEVEL


def crossed_equivalence(
    correct_a: Correctness,
    correct_b: Correctness,
    margin: float,
    *,
    image_variance_factor: float = 1.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Equivalence:
    """Test equivalence with the bootstrap of `mixlab.stats.paired.crossed_bootstrap`.

    correct_a, correct_b:  (seed, image) whether each training classified each image correctly.
    margin:                in percentage points, above 0.

    The other arguments are those of `crossed_bootstrap`. With the same seed, both use the same resamples.
    """
    crossed = crossed_difference(correct_a, correct_b, image_variance_factor=image_variance_factor)
    replicates = 100 * crossed.replicates(resamples, np.random.default_rng(seed))
    beyond = max(np.sum(replicates <= -margin), np.sum(replicates >= margin))
    outside = math.ceil(LEVEL * (resamples + 1)) - 1  # p < 0.05 if fewer replicates than this are at the margin
    return Equivalence(
        margin,
        low=float(replicates[outside - 1]),
        high=float(replicates[-outside]),
        p=min(1.0, float(beyond + 1) / (resamples + 1)),
    )
