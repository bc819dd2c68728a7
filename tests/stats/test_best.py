"""Multiple comparison with the best: exact properties, and error rates in simulations with known accuracy."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtri

from mixlab.stats.best import behind_the_best
from mixlab.stats.components import image_sample, variance_components
from mixlab.stats.paired import crossed_bootstrap

SCALE = math.hypot(1.5, 0.7, 1.0)  # of difficulty, interaction and noise, as in test_coverage.py


def simulate(
    accuracies: list[float], spreads: list[float], seeds: int, images: int, repetition: int
) -> list[NDArray[np.bool_]]:
    """For each model (seed, image); `spreads` are standard deviations over seeds in percentage points."""
    rng = np.random.default_rng([repetition, 4])
    difficulty = rng.normal(0, 1.5, images)
    correct = []
    for accuracy, spread in zip(accuracies, spreads, strict=True):
        point = float(ndtri(accuracy / 100))
        seed_scale = spread / (100 * stats.norm.pdf(point) / SCALE)
        ability = point * math.hypot(SCALE, seed_scale) + rng.normal(0, seed_scale, (seeds, 1))
        correct.append(ability + difficulty + rng.normal(0, 0.7, images) + rng.normal(0, 1, (seeds, images)) > 0)
    return correct


def test_the_best_model_is_0_points_behind_and_a_bound_is_at_least_the_observed_distance():
    correct = simulate([97, 90, 80], [0.3] * 3, seeds=3, images=500, repetition=0)
    best, *others = behind_the_best(correct, resamples=999)
    assert best == 0
    for bound, model in zip(others, correct[1:], strict=True):
        assert bound > 100 * (correct[0].mean() - model.mean())


def test_two_models_have_the_bound_of_a_one_sided_interval():
    """A one-sided 95 % bound is the end of a two-sided 90 % interval, 1.645 instead of 1.96 standard errors."""
    a, b = simulate([90, 88], [0.0] * 2, seeds=1, images=5_000, repetition=0)
    difference = crossed_bootstrap(a, b)
    bounds = behind_the_best([a, b])
    assert bounds[1] == pytest.approx(difference.difference + 1.645 * difference.standard_error, rel=0.02)


def test_more_models_give_larger_bounds():
    correct = simulate([95] * 6, [0.3] * 6, seeds=3, images=500, repetition=1)
    two = behind_the_best(correct[:2])
    six = behind_the_best(correct)
    assert all(many >= few for many, few in zip(six, two, strict=False))


def test_identical_models_have_a_positive_bound_that_decreases_with_the_number_of_images():
    bounds = [behind_the_best([np.ones((3, images), dtype=bool)] * 2)[0] for images in (100, 1_000)]
    assert bounds[0] > bounds[1] > 0


def test_a_bound_is_at_most_100():
    always, never = np.ones((1, 4), dtype=bool), np.zeros((1, 4), dtype=bool)
    assert behind_the_best([always, never])[1] == 100


def test_the_same_seed_gives_the_same_bounds():
    correct = simulate([95, 94], [0.3] * 2, seeds=3, images=500, repetition=2)
    assert behind_the_best(correct, seed=5) == behind_the_best(correct, seed=5)
    assert behind_the_best(correct, seed=5) != behind_the_best(correct, seed=6)


def test_the_image_variance_factor_widens_the_bounds():
    a, b = simulate([90, 89.9], [0.0] * 2, seeds=1, images=5_000, repetition=0)
    gap = 100 * (a.mean() - b.mean())
    plain, wide = (behind_the_best([a, b], image_variance_factor=factor)[1] - gap for factor in (1, 4))
    assert wide == pytest.approx(2 * plain, rel=0.02)


def test_the_components_of_a_pair_are_those_of_the_pairwise_bootstrap():
    a, b, c = simulate([95, 93, 80], [0.3, 0.6, 0.3], seeds=4, images=500, repetition=3)
    components = variance_components([a, b, c], image_sample([a, b, c]))
    for i, j, pair in ((0, 1, (a, b)), (0, 2, (a, c)), (1, 2, (b, c))):
        assert 100 * math.sqrt(components.variance[i, j]) == pytest.approx(crossed_bootstrap(*pair).standard_error)


def test_resampled_means_have_the_variance_of_the_sample():
    images = image_sample(simulate([95, 90, 60], [0.3] * 3, seeds=3, images=300, repetition=4))
    deviations = images.resample_means(20_000, np.random.default_rng(0))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        variance = np.var(deviations[:, i] - deviations[:, j])
        assert variance == pytest.approx(images.pair_variance[i, j], rel=0.05)


@pytest.mark.parametrize(
    ("accuracies", "spreads", "seeds"),
    [
        ([98, 98, 98, 98, 98], [0.3] * 5, 3),
        ([98.2, 97, 97, 97, 97], [0.3] * 5, 3),
        ([98.2, 97, 97, 97, 97], [0.3] * 5, 5),
        ([98, 98, 98, 98, 87], [0.3] * 4 + [7.0], 3),
        ([98, 96.98], [0.3] * 2, 3),
    ],
)
def test_few_models_are_wrongly_within_the_margin_of_1_point(accuracies, spreads, seeds):
    """The rate is 5 % at most; 8 is three standard errors of 300 simulations above it."""
    behind = max(accuracies) - np.array(accuracies)
    wrong = 0
    for repetition in range(300):
        correct = simulate(accuracies, spreads, seeds, 510, repetition)
        bounds = np.array(behind_the_best(correct, resamples=199, seed=repetition))
        wrong += bool(((bounds <= 1) & (behind > 1)).any())
    assert 100 * wrong / 300 <= 8


def test_only_models_that_may_be_best_count_as_the_best():
    correct = simulate([97, 96, 80], [0.3, 0.3, 12.0], seeds=3, images=500, repetition=0)
    all_models = behind_the_best(correct)
    without_last = behind_the_best(correct, may_be_best=np.array([True, True, False]))
    assert without_last[0] < all_models[0]
    assert without_last[2] == all_models[2] > 0  # the bound of the last model itself stays
