"""Unstable models: a spread over seeds that is significantly larger than that of the other models."""

import numpy as np
import pytest

from mixlab.stats.stability import may_be_best, unstable

VIT = [93.7, 88.2, 78.6]
OTHERS = [[99.0, 98.8, 99.2], [98.6, 98.9, 98.4], [97.1, 96.8, 97.5], [98.2, 98.4, 98.0]]


def test_a_model_with_a_much_larger_spread_is_unstable():
    assert unstable(np.array([*OTHERS, VIT]), margin=1).tolist() == [False] * 4 + [True]


def test_a_standard_deviation_below_the_margin_is_not_unstable():
    assert not unstable(np.array([*OTHERS, VIT]), margin=8).any()


def test_a_large_spread_of_all_models_is_not_unstable():
    assert not unstable(np.array([VIT, VIT[::-1], VIT]), margin=1).any()


def test_models_without_any_spread_leave_the_others_unstable():
    assert unstable(np.array([[99.0] * 3, [98.0] * 3, VIT]), margin=1).tolist() == [False, False, True]
    assert not unstable(np.array([[99.0] * 3, [98.0] * 3]), margin=1).any()


def test_with_one_seed_no_model_is_unstable():
    assert not unstable(np.array([[99.0], [50.0]]), margin=1).any()


@pytest.mark.parametrize(("unstable_mean", "counts"), [(87, False), (99.5, True)])
def test_an_unstable_model_counts_as_best_only_above_all_stable_models(unstable_mean, counts):
    accuracies = np.array([[99.0] * 3, [98.0] * 3, [unstable_mean] * 3])
    assert may_be_best(accuracies, np.array([False, False, True])).tolist() == [True, True, counts]


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_the_false_alarm_rate_of_equal_spreads_is_at_most_5_per_cent(seeds):
    """Without the condition on the margin; 6.5 is three standard errors of 2,000 simulations above 5 %."""
    rng = np.random.default_rng(seeds)
    alarms = [unstable(rng.normal(90, 1, (5, seeds)), margin=1e-9).any() for _ in range(2_000)]
    assert 3 <= 100 * np.mean(alarms) <= 6.5
