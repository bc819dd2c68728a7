"""The expected best result of a random search, as a function of the number of trials."""

from collections.abc import Sequence
from math import comb


def expected_maximum(values: Sequence[float]) -> list[float]:
    """The expected maximum of 1, 2, ..., len(values) random values, estimated from independent `values`.

    It is the mean of the maximum over all subsets of that size, so the last entry is the maximum. Dodge et al. (2019,
    "Show your work", section 3) introduced the curve for random search. Their estimator, with replacement, is biased;
    this one, without replacement, is not (Tang et al., 2020, "Showing your work doesn't always work", section 3).
    """
    ordered = sorted(values)
    n = len(ordered)
    return [
        sum(comb(below, size - 1) * value for below, value in enumerate(ordered)) / comb(n, size)
        for size in range(1, n + 1)
    ]
