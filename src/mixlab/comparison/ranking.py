"""Which model to take: every pair compared on the same images, and no recommendation that chance could have made.

One model is recommended if each of its intervals against the others excludes 0. That claim needs no adjustment for the
number of models, since all of its parts have to hold at once (Berger 1982, intersection-union tests). Who reads the
pairs one by one looks for any that stands out, and needs Holm's p beside them.
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
    """`a` minus `b`; `p_holm` is adjusted for all pairs of the comparison."""

    a: str
    b: str
    difference: Difference
    p_holm: float

    @property
    def is_significant(self) -> bool:
        """Whether this pair's own interval excludes 0."""
        return not self.difference.low <= 0 <= self.difference.high

    @property
    def is_significant_holm(self) -> bool:
        """Whether it would also stand out among all pairs."""
        return self.p_holm < 0.05

    def to_dict(self) -> dict[str, Any]:
        """As results.json has it."""
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
        """In percentage points; its n counts the trainings of both."""
        difference = self.difference
        return Estimate(difference.difference, difference.low, difference.high, sum(difference.seeds), "points")


@dataclass(frozen=True, slots=True)
class Ranking:
    """`leaders` are the model with the highest mean and those that it could not be told apart from, best first.

    `detectable`: the smallest true difference, in points, that 80 % of such comparisons would find in a typical pair
    (the median over the pairs; one unsteady model would make the largest say nothing of the others).
    """

    pairs: tuple[Pair, ...]
    leaders: tuple[str, ...]
    detectable: float

    @property
    def recommended(self) -> str | None:
        return self.leaders[0] if len(self.leaders) == 1 else None


Answers = Bool[np.ndarray, "seed image"] | Float[np.ndarray, "seed group"]


def rank(correct: Mapping[str, Answers]) -> Ranking:
    """`correct`: for each of two or more models, whether each training had each test image right.

    Where images come in groups: what `mixlab.stats.paired.of_groups` makes of it.
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
