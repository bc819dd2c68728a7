"""The percentile bootstrap over images."""

import numpy as np

from mixlab.stats.bootstrap import percentile_interval, resample_counts


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
