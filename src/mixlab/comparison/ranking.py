"""Rank models by accuracy: how far each is at most behind the best, and a significance test for every pair.

The bounds decide which model is recommended (see `mixlab.stats.best`); they are simultaneous for all models. The pairs
are further evidence: searching them for any significant one needs an adjustment, so every pair also has a p-value
adjusted by Holm's method.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mixlab.stats.best import behind_the_best
from mixlab.stats.components import image_sample, variance_components
from mixlab.stats.paired import Difference, crossed_bootstrap, detectable_difference, holm
from mixlab.stats.sample_size import Needed, needed
from mixlab.stats.stability import may_be_best, unstable

DEFAULT_MARGIN = 1.0
"""Percentage points: a model that is at most this far behind the best may be recommended."""


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


@dataclass(frozen=True, slots=True)
class Ranking:
    """The result of `rank`.

    pairs       every pair of models, the more accurate one as `a`, ordered from the best model to the worst
    behind      for each model, best first: it is at most so many percentage points behind the best model; the bounds
                are simultaneous at 95 %. An unstable model counts as a possible best only if its mean accuracy is
                higher than that of every stable model
    unstable    the models whose accuracy varies between seeds by much more than that of the others
    margin      in percentage points
    needed      the numbers of seeds and images that would bring a bound down to the margin
    detectable  the smallest true difference, in percentage points, that a comparison of this size detects in a
                typical pair with a probability of 80 %: the median over the pairs, because the largest value depends
                on the model with the largest spread
    """

    pairs: tuple[Pair, ...]
    behind: dict[str, float]
    unstable: tuple[str, ...]
    margin: float
    needed: Needed
    detectable: float

    @property
    def best_observed(self) -> str:
        """The model with the highest mean accuracy, stable or not."""
        return next(iter(self.behind))

    @property
    def stable(self) -> list[str]:
        """The models that are not unstable, best first; never empty."""
        return [name for name in self.behind if name not in self.unstable]

    @property
    def within_margin(self) -> list[str]:
        """The stable models that are at most the margin behind the best model, best first."""
        return [name for name in self.stable if self.behind[name] <= self.margin]


CorrectAnswers = Bool[np.ndarray, "seed image"] | Float[np.ndarray, "seed image"]


def rank(correct: Mapping[str, CorrectAnswers], *, margin: float, image_variance_factor: float = 1.0) -> Ranking:
    """Compare all models, and every pair of them, on the same images.

    correct                by model name, for two or more models with the same number of seeds: whether each training
                           classified each test image correctly, or its score from 0 to 1. For images in groups,
                           the values that `mixlab.stats.paired.cluster_values` returns.
    margin                 in percentage points
    image_variance_factor  see `mixlab.stats.best.behind_the_best`
    """
    ranked = sorted(correct, key=lambda name: -correct[name].mean())
    answers = [correct[name] for name in ranked]
    accuracies = 100 * np.stack([each.mean(axis=1) for each in answers])
    is_unstable = unstable(accuracies, margin)
    possible_best = may_be_best(accuracies, is_unstable)
    pairs = _pairs(ranked, correct, image_variance_factor)
    bounds = behind_the_best(answers, may_be_best=possible_best, image_variance_factor=image_variance_factor)
    return Ranking(
        pairs=pairs,
        behind=dict(zip(ranked, bounds, strict=True)),
        unstable=tuple(name for name, flag in zip(ranked, is_unstable, strict=True) if flag),
        margin=margin,
        needed=needed(
            variance_components(answers, image_sample(answers), image_variance_factor=image_variance_factor),
            stable=~is_unstable,
            may_be_best=possible_best,
            margin=margin,
        ),
        detectable=median(
            detectable_difference(pair.difference.standard_error, pair.difference.degrees_of_freedom, comparisons=1)
            for pair in pairs
        ),
    )


def _pairs(
    ranked: Sequence[str], correct: Mapping[str, CorrectAnswers], image_variance_factor: float
) -> tuple[Pair, ...]:
    couples = list(combinations(ranked, 2))
    differences = [
        crossed_bootstrap(correct[a], correct[b], image_variance_factor=image_variance_factor) for a, b in couples
    ]
    adjusted = holm([difference.p for difference in differences])
    return tuple(
        Pair(a, b, difference, p) for (a, b), difference, p in zip(couples, differences, adjusted, strict=True)
    )
