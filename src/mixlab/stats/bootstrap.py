"""The percentile bootstrap over images.

Axes:  resample  bootstrap resamples
       image     the images that are resampled
"""

import numpy as np
from numpy.typing import NDArray

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
