"""How many seeds or test images a comparison would need, from its variance components.

`needed` is about a comparison with the best. `repeats_needed` and `detectable_margin` are about the mean of repeated
values, and the others about one pair of models.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, nctdtr, nctdtrinc, stdtrit

from mixlab.stats import equivalence
from mixlab.stats.best import LEVEL
from mixlab.stats.components import Components
from mixlab.stats.estimate import TAIL
from mixlab.stats.paired import POWER

MAX_SEEDS = 100
MAX_REPEATS = 1_000
MAX_IMAGE_FACTOR = 100


@dataclass(frozen=True, slots=True)
class Needed:
    """What would bring the bound of some model down to the margin, if the observed means are the true ones.

    seeds         trainings of each model, with the same test images; None: more than `MAX_SEEDS`
    image_factor  how many times as many test images, with the same seeds; None: more than `MAX_IMAGE_FACTOR`
    image_part    the bound with infinitely many seeds, in percentage points
    """

    seeds: int | None
    image_factor: float | None
    image_part: float


def needed(
    components: Components, *, stable: NDArray[np.bool_], may_be_best: NDArray[np.bool_], margin: float
) -> Needed:
    """The smallest numbers for which a bound is predicted to be at most `margin` percentage points.

    components:   of the comparison, in which all models have the same number of seeds.
    stable:       (model,) the models that may be recommended; at least one.
    may_be_best:  (model,) the models of which the best is meant; at least one.
    """
    seeds, images = int(components.seeds[0]), components.images

    def bound(seeds: float, images: float) -> float:
        bounds = predicted_bounds(components.with_sizes(seeds=seeds, images=images), may_be_best)
        return float(bounds[stable].min())

    percent = _first(100, 100 * MAX_IMAGE_FACTOR, lambda percent: bound(seeds, images * percent / 100) <= margin)
    return Needed(
        seeds=_first(seeds, MAX_SEEDS, lambda number: bound(number, images) <= margin),
        image_factor=None if percent is None else percent / 100,
        image_part=bound(math.inf, images),
    )


def predicted_bounds(components: Components, may_be_best: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(model,) The approximate bounds of `behind_the_best` in percentage points, from variance components alone.

    Instead of the bootstrap: Student's t, whose degrees of freedom are those of the variance (Satterthwaite, 1946), at
    a level that is adjusted for the number of comparisons with the best model (Bonferroni).
    """
    critical = stdtrit(_degrees_of_freedom(components), 1 - (1 - LEVEL) / (len(components.means) - 1))
    bounds = components.means - components.means[:, None] + critical * np.sqrt(components.variance)  # of j - i
    np.fill_diagonal(bounds, 0)
    return 100 * bounds[:, may_be_best].max(axis=1).clip(0, 1)


@dataclass(frozen=True, slots=True)
class PairNeeded:
    """What would bring the power of a test of one pair to 80 %, if the observed difference is the true one.

    seeds           trainings of each model, with the same test images; None: more than `MAX_SEEDS`, or unknown because
                    a model was trained once
    image_factor    how many times as many test images, with the same trainings or as many new ones; None: more than
                    `MAX_IMAGE_FACTOR`
    images_suffice  whether the test images are enough for some number of seeds
    """

    seeds: int | None
    image_factor: float | None
    images_suffice: bool


def needed_for_significance(components: Components) -> PairNeeded:
    """The sizes with which the 95 % interval excludes 0 with a probability of 80 %; `components` is of two models."""
    return _needed_for_pair(components, _power_of_significance)


def needed_for_equivalence(components: Components, margin: float) -> PairNeeded:
    """The sizes with which the 90 % interval is within the margin with a probability of 80 %.

    components:  of two models.
    margin:      in percentage points.
    """
    return _needed_for_pair(components, lambda predicted: _power_of_equivalence(predicted, margin / 100))


def repeats_needed(mean: float, spread: float, *, level: float, margin: float | None = None) -> int | None:
    """The repetitions with which Student's t test decides with a probability of 80 %.

    mean, spread  the observed mean and standard deviation, which are assumed to be the true ones; `spread` > 0
    level         the error rate of the test
    margin        None: a two-sided test of a mean of 0. Otherwise two one-sided tests that it is within the margin

    None if more than `MAX_REPEATS` are needed.
    """

    def power(repeats: int) -> float:
        error = spread / math.sqrt(repeats)
        if margin is None:
            return _power(abs(mean) / error, repeats - 1, level / 2)
        below, above = ((margin + sign * mean) / error for sign in (1, -1))
        return _power(below, repeats - 1, level) + _power(above, repeats - 1, level) - 1

    return _first(2, MAX_REPEATS, lambda repeats: power(repeats) >= POWER)


def detectable_margin(spread: float, repeats: int, *, level: float) -> float:
    """The margin of two one-sided t tests at `level` that succeed with at least 80 % if the true mean is 0."""
    return _noncentrality((1 + POWER) / 2, repeats - 1, level) * spread / math.sqrt(repeats)


def spread_factors(repeats: int) -> tuple[float, float]:
    """The bounds of the 95 % interval of a standard deviation, relative to the observed one, for normal values."""
    freedom = repeats - 1
    low, high = (math.sqrt(freedom / float(chdtri(freedom, tail))) for tail in (TAIL, 1 - TAIL))
    return low, high


def _needed_for_pair(components: Components, power: Callable[[Components], float]) -> PairNeeded:
    seeds, images = components.seeds, components.images

    def suffices(seeds: float | NDArray[np.int64] | NDArray[np.float64], images: float) -> bool:
        return power(components.with_sizes(seeds=seeds, images=images)) >= POWER

    percent = _first(100, 100 * MAX_IMAGE_FACTOR, lambda percent: suffices(seeds, images * percent / 100))
    return PairNeeded(
        seeds=_first(int(seeds.max()), MAX_SEEDS, lambda number: suffices(number, images)) if seeds.min() > 1 else None,
        image_factor=None if percent is None else percent / 100,
        images_suffice=suffices(math.inf, images),
    )


def _power_of_significance(components: Components) -> float:
    """The probability that the difference is significant in the observed direction, by the noncentral t."""
    error, freedom = math.sqrt(components.variance[0, 1]), float(_degrees_of_freedom(components)[0, 1])
    return _power(abs(components.means[0] - components.means[1]) / error, freedom, TAIL)


def _power_of_equivalence(components: Components, margin: float) -> float:
    """A lower bound of the probability that both one-sided tests reject; `margin` is a fraction."""
    error, freedom = math.sqrt(components.variance[0, 1]), float(_degrees_of_freedom(components)[0, 1])
    difference = components.means[0] - components.means[1]
    below, above = ((margin + sign * difference) / error for sign in (1, -1))
    return _power(below, freedom, equivalence.LEVEL) + _power(above, freedom, equivalence.LEVEL) - 1


def _power(noncentrality: float, freedom: float, tail: float) -> float:
    """The probability that a noncentral t exceeds the critical value of Student's t with this tail."""
    below = float(nctdtr(freedom, noncentrality, stdtrit(freedom, 1 - tail)))
    return 1.0 if math.isnan(below) else 1 - below  # SciPy has no value far above the critical value


def _noncentrality(power: float, freedom: float, tail: float) -> float:
    """The noncentrality with which `_power` is `power`."""
    return float(nctdtrinc(freedom, 1 - power, stdtrit(freedom, 1 - tail)))


def _degrees_of_freedom(components: Components) -> NDArray[np.float64]:
    """(model, model) Of the variance of a difference (Satterthwaite, 1946)."""
    by_seed = components.seed_variance**2 / np.maximum(components.seeds - 1, 1)
    spread = by_seed[:, None] + by_seed + components.image_variance**2 / components.images
    return components.variance**2 / spread


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int | None:
    """The smallest number in [low, high] for which `holds` is true; None if there is none.

    If it is true for a number, it must be true for all larger numbers.
    """
    if not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
