"""Student's t for paired differences, such as those of two models trained with the same seeds (Student, 1908)."""

import math
import statistics
from collections.abc import Sequence

from scipy.special import stdtr


def two_sided_p(differences: Sequence[float], mean: float = 0.0) -> float:
    """The p-value of a mean difference of `mean`; NaN if there are fewer than two differences or all are equal."""
    t, degrees = _t(differences, mean)
    return 2 * float(stdtr(degrees, -abs(t))) if degrees else math.nan


def margin_p(differences: Sequence[float], margin: float) -> float:
    """The two-sided p-value of a mean difference that is at the nearer end of (-margin, margin).

    Below 0.05, the 95 % interval is either within the margin, for which this is twice `equivalence_p`, or outside.
    NaN as for `two_sided_p`.
    """
    return two_sided_p(differences, math.copysign(margin, statistics.fmean(differences))) if differences else math.nan


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
