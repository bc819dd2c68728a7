"""The mean difference over several test sets."""

import math
from dataclasses import astuple

import numpy as np
import pytest

from mixlab.stats.over_sets import mean_difference
from mixlab.stats.paired import crossed_t


def simulate(accuracies, images, seed):
    """(seed, image) One row for each accuracy, a fraction."""
    return np.random.default_rng(seed).random((len(accuracies), images)) < np.array(accuracies)[:, None]


def test_one_set_gives_the_difference_on_it():
    a, b = simulate([0.90, 0.91, 0.93], 700, 0), simulate([0.88, 0.90], 700, 1)
    assert astuple(mean_difference([(a, b)]))[:-1] == pytest.approx(astuple(crossed_t(a, b))[:-1])


def test_all_sets_weigh_the_same():
    small = simulate([0.9], 100, 0), simulate([0.8], 100, 1)
    large = simulate([0.9], 5_000, 2), simulate([0.9], 5_000, 3)
    mean = (crossed_t(*small).difference + crossed_t(*large).difference) / 2
    assert mean_difference([small, large]).difference == pytest.approx(mean)


def test_the_errors_of_different_images_add_up():
    sets = [(simulate([0.9], images, images), simulate([0.85], images, images + 1)) for images in (200, 500, 900)]
    expected = math.sqrt(sum(crossed_t(a, b).standard_error ** 2 for a, b in sets)) / 3
    assert mean_difference(sets).standard_error == pytest.approx(expected)


def test_trainings_that_are_better_on_all_sets_do_not_average_out():
    spread = [0.80, 0.85, 0.90]
    same = [(simulate(spread, 20_000, seed), simulate([0.8] * 3, 20_000, 50 + seed)) for seed in range(4)]
    single = crossed_t(*same[0])
    assert mean_difference(same).seed_error == pytest.approx(single.seed_error, rel=0.05)
    orders = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]  # the mean over these sets is the same for every training
    balanced = [(a[order], b) for (a, b), order in zip(same, orders, strict=False)]
    assert mean_difference(balanced).seed_error < 0.1 * single.seed_error


def test_sets_with_other_numbers_of_trainings_have_other_trainings():
    first = simulate([0.80, 0.85, 0.90], 20_000, 0), simulate([0.8] * 3, 20_000, 1)
    second = simulate([0.80, 0.85, 0.90, 0.85], 20_000, 2), simulate([0.8] * 4, 20_000, 3)
    expected = math.hypot(crossed_t(*first).seed_error, crossed_t(*second).seed_error) / 2
    difference = mean_difference([first, second])
    assert difference.seed_error == pytest.approx(expected)
    assert difference.seeds == (3, 3)
