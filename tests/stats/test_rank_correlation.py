"""Spearman's rank correlation against SciPy, and its interval against the formula and simulated coverage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, spearmanr

from mixlab.stats.rank_correlation import rank_correlation


def spearman(first: list[int], second: list[int]) -> float:
    return float(spearmanr(first, second)[0])  # pyright: ignore[reportArgumentType]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=5, max_size=20))
def test_the_value_is_that_of_scipy_also_with_ties(pairs):
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    if len(set(first)) > 1 and len(set(second)) > 1:
        estimate = rank_correlation(first, second)
        assert estimate.value == pytest.approx(spearman(first, second))
        assert estimate.low is not None and estimate.high is not None
        assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_the_interval_is_that_of_bonett_and_wright():
    first, second = [1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 4, 3, 7, 8, 6, 5]
    rho = spearman(first, second)
    half = norm.ppf(0.975) * math.sqrt((1 + rho**2 / 2) / 5)
    estimate = rank_correlation(first, second)
    assert (estimate.low, estimate.high) == pytest.approx(
        (math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half))
    )
    assert (estimate.n, estimate.unit) == (8, "")


@pytest.mark.parametrize("sign", [1, -1])
def test_equal_orders_have_the_lower_bound_of_one_exchanged_pair_of_neighbours(sign):
    order = [1, 2, 3, 4, 5, 6]
    exchanged = rank_correlation(order, [sign * rank for rank in (2, 1, 3, 4, 5, 6)])
    equal = rank_correlation(order, [sign * rank for rank in order])
    assert equal.value == pytest.approx(sign)
    assert (equal.low, equal.high) == (pytest.approx((exchanged.low, 1.0) if sign == 1 else (-1.0, exchanged.high)))


def test_the_interval_covers_the_true_correlation():
    """Normal variables with correlation r have Spearman's ρ = 6 / π arcsin(r / 2)."""
    rng = np.random.default_rng(0)
    r = 0.8
    truth = 6 / math.pi * math.asin(r / 2)
    covered = 0
    for _ in range(500):
        first = rng.normal(size=16)
        second = r * first + math.sqrt(1 - r**2) * rng.normal(size=16)
        estimate = rank_correlation(first.tolist(), second.tolist())
        assert estimate.low is not None and estimate.high is not None
        covered += estimate.low <= truth <= estimate.high
    assert 0.92 <= covered / 500 <= 0.99
