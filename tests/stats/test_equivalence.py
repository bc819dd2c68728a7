"""Two one-sided tests on the replicates of the crossed bootstrap. Coverage and errors are in test_coverage.py."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mixlab.stats.equivalence import crossed_equivalence
from mixlab.stats.paired import crossed_bootstrap


def simulate(accuracy, seeds, images=510, seed=0):
    """(seed, image) Whether each image is correct, independently with a probability of `accuracy` per cent."""
    return np.random.default_rng(seed).random((seeds, images)) < accuracy / 100


def test_p_is_below_5_per_cent_if_and_only_if_the_90_per_cent_interval_is_within_the_margin():
    outcomes = set()
    for seed in range(60):
        a, b = simulate(95, seeds=3, seed=2 * seed), simulate(94.5, seeds=3, seed=2 * seed + 1)
        equivalence = crossed_equivalence(a, b, 2.0, resamples=199 + seed, seed=seed)
        within = equivalence.low > -2 and equivalence.high < 2
        assert equivalence.is_shown == (equivalence.p < 0.05) == within
        outcomes.add(within)
    assert outcomes == {True, False}


def test_the_90_per_cent_interval_is_within_the_95_per_cent_interval_of_the_same_resamples():
    a, b = simulate(95, seeds=3), simulate(94, seeds=4, seed=1)
    difference, equivalence = crossed_bootstrap(a, b), crossed_equivalence(a, b, 1.0)
    assert difference.low < equivalence.low < difference.difference < equivalence.high < difference.high


def test_with_one_training_each_the_interval_is_that_of_matched_proportions():
    a, b = np.ones((1, 2_000), dtype=bool), np.ones((1, 2_000), dtype=bool)
    b[0, :120], a[0, 120:220] = False, False
    n = 2_002
    error = 100 / n * math.sqrt((120 + 100 + 1) - 20**2 / n)  # Agresti and Min, 2005
    equivalence = crossed_equivalence(a, b, 2.2)
    assert (equivalence.low, equivalence.high) == pytest.approx((1 - 1.645 * error, 1 + 1.645 * error), abs=0.05)
    assert equivalence.p == pytest.approx(stats.norm.sf((2.2 - 1) / error), abs=0.007)  # of 10,000 resamples


def test_with_a_large_spread_over_seeds_p_is_that_of_welchs_test():
    rng = np.random.default_rng(0)
    accuracies_a, accuracies_b = np.linspace(0.60, 0.66, 8), np.linspace(0.61, 0.68, 9)
    a = rng.random((8, 50_000)) < accuracies_a[:, None]
    b = rng.random((9, 50_000)) < accuracies_b[:, None]
    means_a, means_b = 100 * a.mean(axis=1), 100 * b.mean(axis=1)
    welch: Any = stats.ttest_ind  # its annotation lacks the fields of the result
    for margin in (2.0, 3.0, 5.0):
        above = welch(means_a + margin, means_b, equal_var=False, alternative="greater").pvalue
        below = welch(means_a - margin, means_b, equal_var=False, alternative="less").pvalue
        assert crossed_equivalence(a, b, margin).p == pytest.approx(max(above, below), abs=0.015)


def test_a_difference_of_the_margin_is_not_equivalent():
    a, b = np.ones((1, 1_000), dtype=bool), np.ones((1, 1_000), dtype=bool)
    b[0, :20] = False
    assert crossed_equivalence(a, b, 2.0).p == pytest.approx(0.5, abs=0.1)
    assert not crossed_equivalence(a, b, 1.0).is_shown
    assert crossed_equivalence(a, b, 3.5).is_shown


def test_the_order_of_the_models_does_not_matter():
    a, b = simulate(95, seeds=3), simulate(94, seeds=3, seed=1)
    assert crossed_equivalence(a, b, 2.0).p == pytest.approx(crossed_equivalence(b, a, 2.0).p, abs=0.01)
