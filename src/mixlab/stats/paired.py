"""Comparison of two models on the same images, with several trainings of each model.

There are two sources of randomness: which images are in the test split, and which seeds the trainings used. Images
are crossed with the models (every image is evaluated by both models); seeds are nested (each seed belongs to one
model). Cases and readers in medical imaging have the same structure, and the analysis of variance from that field is
used (Obuchowski and Rockette, 1995; Hillis, 2007).

Axes:  seed      one training of a model
       image     one image of the test split, the same for both models
       resample  one bootstrap resample
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtrinc, stdtr, stdtrit

from mixlab.stats.components import Correctness
from mixlab.stats.crossed import CrossedDifference, crossed_difference
from mixlab.stats.estimate import RESAMPLES, TAIL, Estimate
from mixlab.stats.mcnemar import mcnemar_p

POWER = 0.80


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean accuracy of model a minus mean accuracy of model b, in percentage points.

    difference          the estimate
    low, high           its 95 % interval
    p                   two-sided p-value; below 0.05 if and only if the interval excludes 0
    image_error         the part of the standard error due to the images, in percentage points
    seed_error          the part due to the seeds; 0 if both models were trained once, because it is then unknown
    degrees_of_freedom  of the standard error
    seeds               number of trainings of a and of b
    """

    difference: float
    low: float
    high: float
    p: float
    image_error: float
    seed_error: float
    degrees_of_freedom: float
    seeds: tuple[int, int]

    @property
    def standard_error(self) -> float:
        """Of the difference, in percentage points: the root of the sum of the squares of its two parts."""
        return math.hypot(self.image_error, self.seed_error)

    @property
    def estimate(self) -> Estimate:
        """The difference in percentage points; `n` is the number of trainings of both models."""
        return Estimate(self.difference, self.low, self.high, sum(self.seeds), "points")

    @property
    def covers_seeds(self) -> bool:
        """Whether both models were trained more than once. If False, the interval covers other images only."""
        return min(self.seeds) > 1


def crossed_bootstrap(
    correct_a: Correctness,
    correct_b: Correctness,
    *,
    image_variance_factor: float = 1.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Compare two models by resampling images (jointly for both models) and seeds (separately for each model).

    correct_a, correct_b:   (seed, image) whether each training classified each image correctly. The images must be
                            the same; the numbers of seeds may differ.
    image_variance_factor:  multiplies the variance due to the images, see `mixlab.stats.best.behind_the_best`.
    resamples:              number of bootstrap resamples. The smallest possible p-value is 2 / (resamples + 1).
    seed:                   seed of the random numbers; the same seed gives the same result.

    A plain percentile bootstrap would be wrong in three cases, which are corrected:

    - Few seeds: its variance is (S - 1) / S of the variance of the seeds, and its tails are those of a normal
      distribution (Hesterberg, 2015: "narrowness bias"). Deviations are scaled by sqrt(S / (S - 1)), and every
      resample is divided by the root of a chi-square over its degrees of freedom (Satterthwaite, 1946), which turns
      a normal distribution into Student's t.
    - Crossed factors: it counts the interaction of images and seeds three times (Owen, 2007). Images and seeds
      are resampled independently and added, and the interaction that the variance over seeds already contains is
      subtracted from the variance over images (Hillis, 2007).
    - Few disagreements: its intervals are too narrow, with width 0 at a perfect tie. Half an image is added to each
      cell of the table (a correct or wrong, b correct or wrong; Agresti and Min, 2005). A tie on n images then has
      an interval of about +-2 / n.

    Coverage, false alarms and power are measured in tests/stats/test_coverage.py. Use at least three seeds with
    Holm's correction over several pairs: with two, the far tails are unreliable and the false alarm rate was 12 %
    instead of 5 %.
    """
    crossed = crossed_difference(correct_a, correct_b, image_variance_factor=image_variance_factor)
    replicates = crossed.replicates(resamples, np.random.default_rng(seed))
    beyond_zero = min(np.sum(replicates <= 0), np.sum(replicates >= 0))
    outside = math.ceil(TAIL * (resamples + 1)) - 1  # p < 0.05 if fewer replicates than this are at 0 or beyond
    return _difference(
        crossed,
        low=float(replicates[outside - 1]),
        high=float(replicates[-outside]),
        p=min(1.0, 2 * float(beyond_zero + 1) / (resamples + 1)),
    )


def crossed_t(correct_a: Correctness, correct_b: Correctness) -> Difference:
    """`crossed_bootstrap` in closed form, with the quantiles of Student's t instead of those of resamples.

    For many comparisons, such as one for each class: it takes a fraction of the time, and its p-value can be as small
    as an adjustment for many comparisons needs.
    """
    crossed = crossed_difference(correct_a, correct_b)
    error, freedom = math.sqrt(crossed.variance), crossed.degrees_of_freedom
    half = float(stdtrit(freedom, 1 - TAIL)) * error
    return _difference(
        crossed,
        low=max(crossed.value - half, -1.0),
        high=min(crossed.value + half, 1.0),
        p=2 * float(stdtr(freedom, -abs(crossed.value) / error)),
    )


def _difference(crossed: CrossedDifference, *, low: float, high: float, p: float) -> Difference:
    """`low` and `high` are fractions."""
    return Difference(
        difference=100 * crossed.value,
        low=100 * low,
        high=100 * high,
        p=p,
        image_error=100 * math.sqrt(crossed.image_variance),
        seed_error=100 * math.sqrt(crossed.seed_variance),
        degrees_of_freedom=crossed.degrees_of_freedom,
        seeds=(crossed.seeds_a.size, crossed.seeds_b.size),
    )


def paired_p(correct_a: Correctness, correct_b: Correctness) -> float:
    """The two-sided p-value of equal accuracies, for one of many comparisons that are then adjusted together.

    correct_a, correct_b: (seed, image) whether each training classified each image correctly.

    McNemar's exact test if each model was trained once, otherwise `crossed_t`.
    """
    if len(correct_a) == len(correct_b) == 1:
        return mcnemar_p(*disagreements(correct_a, correct_b))
    return crossed_t(correct_a, correct_b).p


def disagreements(correct_a: Correctness, correct_b: Correctness) -> tuple[int, int]:
    """For one training each, (1, image): the number of images that only a, and only b, classifies correctly."""
    return int(np.sum(correct_a > correct_b)), int(np.sum(correct_a < correct_b))


def cluster_values(correct: Correctness, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """One value per group of images, for data in which images of a group (such as near copies) are not independent.

    correct: (seed, image) whether each training classified each image correctly.
    groups:  (image,) the group's number for each image.

    Returns (seed, group), which the other functions of this module accept in place of (seed, image). Each group is
    weighted by its number of images: its value is the mean over all images plus the linearised contribution of its
    own images (ratio estimator; Cochran, 1977, section 9A). The mean of each seed does not change, and a group of
    one image has the value of that image.
    """
    group = np.unique(groups, return_inverse=True)[1]
    mean = correct.mean(axis=1, keepdims=True)
    contributions = np.stack([np.bincount(group, weights=row) for row in correct - mean])
    return mean + contributions * contributions.shape[1] / correct.shape[1]


def crossed_interval(correct: Correctness, *, image_variance_factor: float = 1.0) -> Estimate:
    """Mean accuracy of one model in per cent, with a 95 % interval over images and seeds.

    correct:                (seed, image) whether each training classified each image correctly.
    image_variance_factor:  as for `crossed_bootstrap`.

    The interval is that of the difference from a model that is always correct. `spread` is the standard deviation
    of the accuracy over seeds.
    """
    always_correct = np.ones((1, correct.shape[1]), dtype=bool)
    shortfall = crossed_bootstrap(correct, always_correct, image_variance_factor=image_variance_factor)
    accuracies = 100 * correct.mean(axis=1)
    return Estimate(
        value=float(accuracies.mean()),
        low=100 + shortfall.low,
        high=min(100.0, 100 + shortfall.high),
        n=len(correct),
        unit="%",
        spread=float(accuracies.std(ddof=1)) if len(correct) > 1 else None,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for multiple comparisons, in the given order (Holm, 1979).

    Compare each adjusted value with 0.05: the probability of one or more false alarms among all is at most 5 %.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted.tolist()


def detectable_difference(standard_error: float, degrees_of_freedom: float, comparisons: int) -> float:
    """The smallest true difference detected with 80 % power at the 5 % level, in the unit of `standard_error`.

    It is standard_error x d, where d solves  P(T(degrees_of_freedom, d) > t) = 0.80;  T is the noncentral t and t the
    two-sided critical value of Student's t at 5 % / comparisons (Cohen, 1988; this is Bonferroni's level, the first
    step of Holm's). With few seeds the standard error of each pair is uncertain: over several pairs, use the largest
    result to be conservative.
    """
    critical = stdtrit(degrees_of_freedom, 1 - TAIL / comparisons)
    return standard_error * float(nctdtrinc(degrees_of_freedom, 1 - POWER, critical))
