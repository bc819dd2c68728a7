"""Student's t for paired differences, such as those of two models trained with the same seeds (Student, 1908)."""

import math
import statistics
from collections.abc import Sequence

from scipy.special import stdtr


def two_sided_p(differences: Sequence[float]) -> float:
    """The p-value of a mean difference of 0; NaN if there are fewer than two differences or all are equal."""
    t, degrees = _t(differences, 0.0)
    return 2 * float(stdtr(degrees, -abs(t))) if degrees else math.nan


def equivalence_p(differences: Sequence[float], margin: float) -> float:
    """The p-value of a mean difference of `margin` or more in either direction; two one-sided tests (Schuirmann, 1987).

    Below 0.05, the mean difference lies within (-margin, margin). NaN as for `two_sided_p`.
    """
    below, degrees = _t(differences, -margin)
    above, _ = _t(differences, margin)
    return max(float(stdtr(degrees, -below)), float(stdtr(degrees, above))) if degrees else math.nan


def _t(differences: Sequence[float], mean: float) -> tuple[float, int]:
    """Student's t of the differences against `mean`, and its degrees of freedom; (NaN, 0) if it is undefined."""
    if len(differences) < 2 or (spread := statistics.stdev(differences)) == 0:
        return math.nan, 0
    return (statistics.fmean(differences) - mean) / (spread / math.sqrt(len(differences))), len(differences) - 1
