"""How many seeds or test images a comparison with the best would need, from its variance components."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from mixlab.stats.best import LEVEL
from mixlab.stats.components import Components

MAX_SEEDS = 100
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
    variance, by_seed = components.variance, components.seed_variance**2 / np.maximum(components.seeds - 1, 1)
    spread = by_seed[:, None] + by_seed + components.image_variance**2 / components.images
    critical = stdtrit(variance**2 / spread, 1 - (1 - LEVEL) / (len(components.means) - 1))
    bounds = components.means - components.means[:, None] + critical * np.sqrt(variance)  # of j - i
    np.fill_diagonal(bounds, 0)
    return 100 * bounds[:, may_be_best].max(axis=1).clip(0, 1)


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
