"""Ratios and means of which some are undefined."""

import numpy as np

from mixlab.stats.undefined import mean_of_defined, ratio


def test_a_ratio_is_undefined_where_the_whole_is_zero():
    np.testing.assert_array_equal(ratio(np.array([1, 0, 3]), np.array([2, 0, 4])), [0.5, np.nan, 0.75])


def test_a_mean_leaves_undefined_values_out_and_is_undefined_without_others():
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(mean_of_defined(values, axis=1), [2, np.nan])
    assert mean_of_defined(values) == 2
