"""Ratios and means of which some are undefined. NaN stands for an undefined value."""

import numpy as np
from numpy.typing import ArrayLike


def ratio(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """`part` divided by `whole`, of the same shape; NaN where the whole is not positive."""
    whole = np.asarray(whole)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def mean_of_defined(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The mean of the defined values along an axis, or of all; NaN without any."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(axis=axis), defined.sum(axis=axis))
