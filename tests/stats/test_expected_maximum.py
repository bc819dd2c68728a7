"""The expected maximum of some of the results of a random search."""

from itertools import combinations
from statistics import fmean

import numpy as np
import pytest

from mixlab.stats.expected_maximum import expected_maximum


def test_it_is_the_mean_of_the_maximum_over_all_subsets():
    values = [97.1, 98.4, 96.0, 98.4, 99.2, 90.5]
    by_definition = [fmean(max(some) for some in combinations(values, size)) for size in range(1, 7)]
    assert expected_maximum(values) == pytest.approx(by_definition, rel=1e-12)


def test_it_increases_from_the_mean_to_the_maximum():
    values = [1.0, 4.0, 2.0]
    first, second, last = expected_maximum(values)
    assert first == pytest.approx(7 / 3)
    assert first < second < last
    assert last == 4.0


def test_it_is_unbiased_for_uniform_values():
    """The expected maximum of n uniform numbers is n / (n + 1), also if it is estimated from only twice as many."""
    samples = np.random.default_rng(0).uniform(size=(4_000, 6))
    estimates = [expected_maximum(sample.tolist())[2] for sample in samples]
    assert fmean(estimates) == pytest.approx(3 / 4, abs=0.006)
