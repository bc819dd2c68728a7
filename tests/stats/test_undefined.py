"""Ratios and means of which some are undefined."""

import numpy as np
import pytest

from mixlab.stats.undefined import interval_of_defined, mean_of_defined, ratio


def test_a_ratio_is_undefined_where_the_whole_is_zero():
    np.testing.assert_array_equal(ratio(np.array([1, 0, 3]), np.array([2, 0, 4])), [0.5, np.nan, 0.75])


def test_a_mean_leaves_undefined_values_out_and_is_undefined_without_others():
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(mean_of_defined(values, axis=1), [2, np.nan])
    assert mean_of_defined(values) == 2


def test_an_interval_counts_the_defined_values():
    estimate = interval_of_defined([10.0, np.nan, 20.0], "%", least=0, most=100)
    assert estimate is not None
    assert (estimate.value, estimate.n, estimate.low) == (15, 2, 0)
    assert estimate.high == pytest.approx(15 + 12.7062 * 5, abs=1e-4)  # Student's t with one degree of freedom
    assert interval_of_defined([np.nan], "%", least=0, most=100) is None
