"""Is one model better than another? Judged on the same images, with several trainings of each.

Two things are left to chance: which images the test part holds, and which seeds the trainings had. Images are
crossed with both models, seeds belong to one. So it is with cases and readers in medical imaging, whose analysis
of variance is used here (Obuchowski and Rockette, 1995; Hillis, 2007).

Axes:  seed      one training of a model
       image   one image of the test part, the same for both models
       resample  one draw of the bootstrap
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtrinc, stdtrit

from mixlab.stats.estimate import TAIL, Estimate

POWER = 0.80

Answers = NDArray[np.bool_] | NDArray[np.float64]
"""(seed, image) Whether each training had each image right; numbers where they stand for groups of images."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean accuracy of a minus mean accuracy of b, in percentage points.

    difference          the estimate
    low, high           its 95 % interval
    p                   two-sided; below 0.05 exactly where the interval excludes 0
    standard_error      of the difference, in percentage points
    degrees_of_freedom  how well that standard error is known itself
    seeds               how many trainings of a, how many of b
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
        """False where a model was trained once: the interval is then about other images, not other trainings."""
        return min(self.seeds) > 1


@dataclass(frozen=True, slots=True)
class _Sample:
    """Values (value,), how often each was seen (value,), and how uncertain that leaves their mean."""

    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def size(self) -> int:
        return round(self.weights.sum())

    @property
    def degrees_of_freedom(self) -> int:
        return max(self.size - 1, 1)  # a single value: its square below is 0, whatever divides it

    @property
    def mean(self) -> float:
        return float(self.weights @ self.values) / self.size

    @property
    def variance(self) -> float:
        """Of the mean, without bias."""
        squares = float(self.weights @ (self.values - self.mean) ** 2)
        return squares / self.degrees_of_freedom / self.size

    def resampled(self, resamples: int, random: np.random.Generator) -> NDArray[np.float64]:
        """(resample,) Deviations of the mean, widened to have `variance` and not (size - 1) / size of it."""
        counts = random.multinomial(self.size, self.weights / self.size, size=resamples)
        narrow = counts @ self.values / self.size - self.mean
        return narrow * math.sqrt(self.size / self.degrees_of_freedom)


def crossed_bootstrap(
    correct_a: Answers,
    correct_b: Answers,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Compare two models by resampling the images, for both together, and the seeds of each.

    `correct_a`, `correct_b`: (seed, image), whether each training had the image right; the numbers of seeds may
    differ. The same `seed` gives the same numbers. No p comes out below 2 / (resamples + 1).

    A plain percentile bootstrap would mislead in three ways:

    - Few seeds: it has (S - 1) / S of their variance and a normal's tails (Hesterberg, 2015: "narrowness bias").
      Deviations are widened by sqrt(S / (S - 1)), and every resample is divided by the root of a chi-square over
      its degrees of freedom (Satterthwaite, 1946), as Student's t is made of a normal.
    - Crossing: it counts three times what neither an image nor a seed explains (Owen, 2007). Images and seeds
      are resampled apart and added, and images vary only by what the seeds' spread does not hold yet (Hillis,
      2007).
    - Few disagreements: it is too sure, and certain at a perfect tie. Half an image is added to each cell of a
      right or wrong and b right or wrong (Agresti and Min, 2005); a tie on n images then leaves about +-2 / n.

    Coverage, false alarms and power are measured in tests/evidence/test_coverage.py. Three seeds are the least for
    Holm over several pairs: with two, far tails are guesswork, and false alarms came at 12 %, not 5 %.
    """
    random = np.random.default_rng(seed)
    images = _image_differences(correct_a, correct_b)
    seeds_a, seeds_b = _accuracies(correct_a), _accuracies(correct_b)

    # What the seeds' spread leaves to the images is never less than the four half images bring.
    held_by_seeds = _interaction_variance(correct_a) + _interaction_variance(correct_b)
    left_to_images = max(images.variance - held_by_seeds, 1 / images.size**2)
    variance = left_to_images + seeds_a.variance + seeds_b.variance
    doubt = sum(part.variance**2 / part.degrees_of_freedom for part in (images, seeds_a, seeds_b))
    degrees_of_freedom = max(variance**2 / doubt, 1.0)  # the subtraction could make it less than any part's

    deviations = (
        images.resampled(resamples, random) * math.sqrt(left_to_images / images.variance)
        + seeds_a.resampled(resamples, random)
        - seeds_b.resampled(resamples, random)
    )
    students = deviations * np.sqrt(degrees_of_freedom / random.chisquare(degrees_of_freedom, resamples))
    difference = seeds_a.mean - seeds_b.mean
    replicates = np.sort(np.clip(difference + students, -1, 1))

    beyond_zero = min(np.sum(replicates <= 0), np.sum(replicates >= 0))
    outside = math.ceil(TAIL * (resamples + 1)) - 1  # p < 0.05 leaves fewer than so many at 0 or beyond
    return Difference(
        difference=100 * difference,
        low=100 * float(replicates[outside - 1]),
        high=100 * float(replicates[-outside]),
        p=min(1.0, 2 * float(beyond_zero + 1) / (resamples + 1)),
        standard_error=100 * math.sqrt(variance),
        degrees_of_freedom=degrees_of_freedom,
        seeds=(seeds_a.size, seeds_b.size),
    )


def cluster_values(correct: Answers, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """(seed, group) For the functions here, where images of one group, such as copies, are right or wrong together.

    `groups`: (image,) a number an image. A group counts for as many images as it has: its value is the mean over
    all images, moved by what its own images add to that (the linearised ratio; Cochran, 1977, section 9A). So each
    seed's mean stays what it was, and a group of one image is that image.
    """
    group = np.unique(groups, return_inverse=True)[1]
    mean = correct.mean(axis=1, keepdims=True)
    moved = np.stack([np.bincount(group, weights=row) for row in correct - mean])
    return mean + moved * moved.shape[1] / correct.shape[1]


def crossed_interval(correct: Answers) -> Estimate:
    """One model's mean accuracy in per cent, for other images and other seeds; `correct`: (seed, image).

    It is compared with a model that is always right. The spread is that of the seeds' accuracies.
    """
    always_right = np.ones((1, correct.shape[1]), dtype=bool)
    shortfall = crossed_bootstrap(correct, always_right)
    accuracies = 100 * correct.mean(axis=1)
    return Estimate(
        value=float(accuracies.mean()),
        low=100 + shortfall.low,
        high=min(100.0, 100 + shortfall.high),
        n=len(correct),
        unit="%",
        spread=float(accuracies.std(ddof=1)) if len(correct) > 1 else None,
    )


def _image_differences(correct_a: Answers, correct_b: Answers) -> _Sample:
    """Each image's mean difference, and the four half images; equal ones are kept once, with their number."""
    values, weights = np.unique(correct_a.mean(axis=0) - correct_b.mean(axis=0), return_counts=True)
    return _Sample(np.append(values, [1, -1, 0]), np.append(weights, [0.5, 0.5, 1]))


def _accuracies(correct: Answers) -> _Sample:
    return _Sample(correct.mean(axis=1), np.ones(len(correct)))


def _interaction_variance(correct: Answers) -> float:
    """The part of the mean accuracy's variance that no better or worse seed makes and no harder image.

    An image falls right in one training and wrong in another. 0 for one training, which can't tell.
    """
    seeds, images = correct.shape
    if seeds == 1:
        return 0.0
    scatter = correct - correct.mean(axis=1, keepdims=True) - correct.mean(axis=0) + correct.mean()
    return float(np.sum(scatter**2)) / ((seeds - 1) * (images - 1)) / (seeds * images)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for being several, in the given order (Holm, 1979).

    Each may be held against 0.05 by itself: the chance of even one false alarm among all stays below that.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted.tolist()


def detectable_difference(standard_error: float, degrees_of_freedom: float, comparisons: int) -> float:
    """The smallest true difference found with 80 % power at 5 %, in the unit of `standard_error`.

    standard_error x d, where d solves  P(T(degrees_of_freedom, d) > t) = 0.80;  T is the noncentral t, and t the
    two-sided point of Student's t at 5 % / comparisons (Cohen, 1988; Bonferroni's share is Holm's first step).
    With few seeds each pair knows its standard error badly, so over several pairs the largest answer is the safe one.
    """
    critical = stdtrit(degrees_of_freedom, 1 - TAIL / comparisons)
    return standard_error * float(nctdtrinc(degrees_of_freedom, 1 - POWER, critical))
