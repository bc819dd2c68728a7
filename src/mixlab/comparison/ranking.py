"""Rank models by accuracy, with a significance test for every pair.

A model is recommended only if each of its 95 % intervals against the other models excludes 0. This claim needs no
adjustment for the number of models, because all of its parts must hold at once (Berger 1982, intersection-union
tests). Searching the list of pairs for any significant one does need an adjustment, so every pair also has a p-value
adjusted by Holm's method.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mixlab.stats.estimate import Estimate
from mixlab.stats.paired import Difference, crossed_bootstrap, detectable_difference, holm


@dataclass(frozen=True, slots=True)
class Pair:
    """The difference between two models, `a` minus `b`.

    difference  in percentage points, with its 95 % interval and unadjusted p-value
    p_holm      the p-value adjusted by Holm's method for all pairs of the comparison
    """

    a: str
    b: str
    difference: Difference
    p_holm: float

    @property
    def is_significant(self) -> bool:
        """Whether the 95 % interval of this pair excludes 0."""
        return not self.difference.low <= 0 <= self.difference.high

    @property
    def is_significant_holm(self) -> bool:
        """Whether the difference is significant at 5 % after adjustment for all pairs."""
        return self.p_holm < 0.05

    def to_dict(self) -> dict[str, Any]:
        """The entry of this pair in results.json."""
        difference = self.difference
        return {
            "a": self.a,
            "b": self.b,
            "difference": difference.difference,
            "low": difference.low,
            "high": difference.high,
            "p_holm": self.p_holm,
        }

    @property
    def estimate(self) -> Estimate:
        """The difference in percentage points; `n` is the number of trainings of both models."""
        difference = self.difference
        return Estimate(difference.difference, difference.low, difference.high, sum(difference.seeds), "points")


@dataclass(frozen=True, slots=True)
class Ranking:
    """The result of `rank`.

    pairs       every pair of models, the more accurate one as `a`, ordered from the best model to the worst
    leaders     the model with the highest mean accuracy, then the models that are tied with it, best first
    detectable  the smallest true difference, in percentage points, that a comparison of this size detects in a
                typical pair with a probability of 80 %: the median over the pairs, because the largest value depends
                on the model with the largest spread
    """

    pairs: tuple[Pair, ...]
    leaders: tuple[str, ...]
    detectable: float

    @property
    def recommended(self) -> str | None:
        """The best model if it is significantly better than every other model, else None."""
        return self.leaders[0] if len(self.leaders) == 1 else None


CorrectAnswers = Bool[np.ndarray, "seed image"] | Float[np.ndarray, "seed group"]


def rank(correct: Mapping[str, CorrectAnswers]) -> Ranking:
    """Compare every pair of models on the same images.

    correct  by model name, for two or more models: whether each training classified each test image correctly. For
             images in groups, the values that `mixlab.stats.paired.cluster_values` returns.
    """
    ranked = sorted(correct, key=lambda name: -correct[name].mean())
    couples = list(combinations(ranked, 2))
    differences = [crossed_bootstrap(correct[a], correct[b]) for a, b in couples]
    adjusted = holm([difference.p for difference in differences])
    pairs = tuple(
        Pair(a, b, difference, p) for (a, b), difference, p in zip(couples, differences, adjusted, strict=True)
    )
    tied_with_best = [pair.b for pair in pairs if pair.a == ranked[0] and not pair.is_significant]
    detectable = median(
        detectable_difference(difference.standard_error, difference.degrees_of_freedom, comparisons=1)
        for difference in differences
    )
    return Ranking(pairs, (ranked[0], *tied_with_best), detectable)
