"""The percentile bootstrap over images."""

import numpy as np
import pytest

from mixlab.stats.bootstrap import interval_over_seeds, percentile_interval, resample_counts


def test_every_resample_has_as_many_images_as_there_are():
    counts = resample_counts(30, 200)
    assert (counts.sum(axis=1) == 30).all()
    assert abs(counts.mean() - 1) < 1e-12
    assert (counts == resample_counts(30, 200)).all()


def test_the_interval_of_a_mean_is_close_to_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(size=400)
    found = percentile_interval(values.mean(), resample_counts(400, 2000) @ values / 400, 400, "")
    half = 1.96 * values.std() / 20
    assert found.low is not None and found.high is not None
    np.testing.assert_allclose([found.low, found.high], [values.mean() - half, values.mean() + half], atol=0.01)


def test_equal_or_undefined_resamples_have_no_interval():
    for resampled in (np.ones(10), np.full(10, np.nan)):
        found = percentile_interval(1.0, resampled, 5, "%")
        assert (found.low, found.high) == (None, None)


@pytest.mark.long
def test_an_interval_over_seeds_contains_the_true_value_in_about_95_percent():
    rng, contained, repetitions = np.random.default_rng(0), 0, 400
    for repetition in range(repetitions):
        ability = rng.normal(0.7, 0.02, size=(3, 1))  # of each training
        difficulty = rng.normal(0, 0.2, size=100)  # of each image, the same for all trainings
        scores = np.clip(ability + difficulty + rng.normal(0, 0.05, (3, 100)), 0, 1)
        resampled = resample_counts(100, 300, seed=repetition) @ scores.mean(axis=0) / 100
        found = interval_over_seeds(scores.mean(axis=1).tolist(), resampled, 100, "", least=0, most=1)
        assert found.low is not None and found.high is not None
        contained += found.low <= 0.6934 <= found.high
    assert 0.93 <= contained / repetitions <= 0.99


def test_the_interval_of_a_single_training_covers_images_only():
    resampled = np.random.default_rng(0).normal(0.5, 0.01, size=2000)
    found = interval_over_seeds([0.5], resampled, 1000, "", least=0, most=1)
    assert found.low is not None and found.high is not None and found.spread is None
    np.testing.assert_allclose([found.low, found.high], [0.4804, 0.5196], atol=0.001)


def test_an_interval_is_clipped_and_missing_if_nothing_varies():
    wide = interval_over_seeds([90.0, 99.0], np.array([94.0, 95.0]), 10, "%", least=0, most=100)
    assert wide.high == 100
    constant = interval_over_seeds([50.0, 50.0], np.full(10, 50.0), 10, "%", least=0, most=100)
    assert (constant.low, constant.high) == (None, None)
