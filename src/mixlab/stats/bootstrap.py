"""The percentile bootstrap over images.

Axes:  resample  bootstrap resamples
       image     the images that are resampled
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from mixlab.stats.estimate import TAIL, Estimate


def resample_counts(images: int, resamples: int, seed: int = 0) -> NDArray[np.int16]:
    """How often each image is in each resample; the images of a resample add up to `images`."""
    rng = np.random.default_rng(seed)
    drawn = np.empty((resamples, images), np.int16)
    for row in drawn:
        row[:] = np.bincount(rng.integers(images, size=images), minlength=images)
    return drawn


def percentile_interval(value: float, resampled: NDArray[np.float64], n: int, unit: str) -> Estimate:
    """`value` with the 95 % percentile interval of its resampled values, of which those that are NaN are left out.

    `low` and `high` are None if all resampled values are equal or undefined: they do not show that there is no error.
    """
    defined = resampled[~np.isnan(resampled)]
    if len(defined) == 0 or np.ptp(defined) == 0:
        return Estimate(float(value), None, None, n, unit)
    low, high = np.quantile(defined, [TAIL, 1 - TAIL])
    return Estimate(float(value), float(low), float(high), n, unit)


def interval_over_seeds(
    values: Sequence[float], resampled: NDArray[np.float64], images: int, unit: str, *, least: float, most: float
) -> Estimate:
    """The mean of a metric over trainings, with a 95 % interval over trainings and images.

    values       of each training, on all images
    resampled    the mean over the trainings in each resample of the images; those that are NaN are left out
    images       the number of images
    least, most  bounds of the metric, to which the interval is clipped

    Student's t interval. The variance over resamples and that of the mean over trainings are added, which counts
    their interaction twice; the degrees of freedom are those of Satterthwaite (1946). With one training, the interval
    covers other images only. `low` and `high` are None if nothing varies.
    """
    seeds, mean = len(values), float(np.mean(values))
    defined = resampled[~np.isnan(resampled)]
    spread = float(np.std(values, ddof=1)) if seeds > 1 else None
    of_images = float(defined.var(ddof=1)) if len(defined) > 1 else 0.0
    of_seeds = 0.0 if spread is None else spread**2 / seeds
    variance = of_images + of_seeds
    if variance == 0:
        return Estimate(mean, None, None, seeds, unit, spread)
    freedom = variance**2 / (of_images**2 / max(images - 1, 1) + of_seeds**2 / max(seeds - 1, 1))
    half = float(stdtrit(freedom, 1 - TAIL)) * math.sqrt(variance)
    return Estimate(mean, max(mean - half, least), min(mean + half, most), seeds, unit, spread)
