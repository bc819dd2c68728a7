"""Models whose accuracy varies between seeds by much more than that of the other models."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc


def unstable(accuracies: NDArray[np.float64], margin: float) -> NDArray[np.bool_]:
    """(model,) Whether each model is unstable.

    accuracies:  (model, seed) in per cent, for two or more models.
    margin:      in percentage points.

    A model is unstable if its standard deviation over seeds exceeds `margin`, and if its variance is significantly
    larger than the pooled variance of the other models, by a one-sided F test at 5 % divided by the number of models
    (Bonferroni). With one seed, no model is unstable. `benchmarks/recommendation.py` measures the rates.
    """
    models, seeds = accuracies.shape
    if seeds == 1:
        return np.zeros(models, dtype=bool)
    variance = accuracies.var(axis=1, ddof=1)
    pooled_others = (variance.sum() - variance) / (models - 1)
    with np.errstate(divide="ignore", invalid="ignore"):  # F is infinite if the others do not vary
        p = fdtrc(seeds - 1, (models - 1) * (seeds - 1), variance / pooled_others)
    return (variance > margin**2) & (p < 0.05 / models)


def may_be_best(accuracies: NDArray[np.float64], is_unstable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(model,) Whether each model counts as a possible best: if it is stable or more accurate than all stable models.

    accuracies:   (model, seed)
    is_unstable:  (model,) see `unstable`; at least one model is stable.

    An unstable model with a lower mean is left out, because its wide interval contains accuracies above those of the
    stable models, so that no model could be shown to be close to it.
    """
    means = accuracies.mean(axis=1)
    return ~is_unstable | (means > means[~is_unstable].max())
