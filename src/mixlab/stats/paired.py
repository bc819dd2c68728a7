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
from scipy.special import nctdtrinc, stdtrit

from mixlab.stats.components import Correctness, Sample, accuracies, interaction_variance
from mixlab.stats.estimate import TAIL, Estimate

POWER = 0.80


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean accuracy of model a minus mean accuracy of model b, in percentage points.

    difference          the estimate
    low, high           its 95 % interval
    p                   two-sided p-value; below 0.05 if and only if the interval excludes 0
    standard_error      of the difference, in percentage points
    degrees_of_freedom  of the standard error
    seeds               number of trainings of a and of b
    """

    difference: float
    low: float
    high: float
    p: float
    standard_error: float
    degrees_of_freedom: float
    seeds: tuple[int, int]

    @property
    def covers_seeds(self) -> bool:
        """Whether both models were trained more than once. If False, the interval covers other images only."""
        return min(self.seeds) > 1


def crossed_bootstrap(
    correct_a: Correctness,
    correct_b: Correctness,
    *,
    image_variance_factor: float = 1.0,
    resamples: int = 10_000,
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
    rng = np.random.default_rng(seed)
    images = _image_differences(correct_a, correct_b)
    seeds_a, seeds_b = accuracies(correct_a), accuracies(correct_b)

    # The variance over seeds contains the interaction already. The lower bound is the variance of the four half images.
    interaction = interaction_variance(correct_a) + interaction_variance(correct_b)
    image_variance = image_variance_factor * max(images.variance - interaction, 1 / images.size**2)
    variance = image_variance + seeds_a.variance + seeds_b.variance
    denominator = (image_variance_factor * images.variance) ** 2 / images.degrees_of_freedom
    denominator += sum(seeds.variance**2 / seeds.degrees_of_freedom for seeds in (seeds_a, seeds_b))
    degrees_of_freedom = max(variance**2 / denominator, 1.0)  # the subtraction could make it smaller than 1

    deviations = (
        images.resample_means(resamples, rng) * math.sqrt(image_variance / images.variance)
        + seeds_a.resample_means(resamples, rng)
        - seeds_b.resample_means(resamples, rng)
    )
    t_deviations = deviations * np.sqrt(degrees_of_freedom / rng.chisquare(degrees_of_freedom, resamples))
    difference = seeds_a.mean - seeds_b.mean
    replicates = np.sort(np.clip(difference + t_deviations, -1, 1))

    beyond_zero = min(np.sum(replicates <= 0), np.sum(replicates >= 0))
    outside = math.ceil(TAIL * (resamples + 1)) - 1  # p < 0.05 if fewer replicates than this are at 0 or beyond
    return Difference(
        difference=100 * difference,
        low=100 * float(replicates[outside - 1]),
        high=100 * float(replicates[-outside]),
        p=min(1.0, 2 * float(beyond_zero + 1) / (resamples + 1)),
        standard_error=100 * math.sqrt(variance),
        degrees_of_freedom=degrees_of_freedom,
        seeds=(seeds_a.size, seeds_b.size),
    )


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


def _image_differences(correct_a: Correctness, correct_b: Correctness) -> Sample:
    """Mean difference of each image plus the four half images; equal values are stored once, with their count."""
    values, weights = np.unique(correct_a.mean(axis=0) - correct_b.mean(axis=0), return_counts=True)
    return Sample(np.append(values, [1, -1, 0]), np.append(weights, [0.5, 0.5, 1]))


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
