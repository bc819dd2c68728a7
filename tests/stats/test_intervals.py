import numpy as np
import pytest
from scipy import stats

from mixlab.stats.intervals import (
    mean_interval,
    mean_interval_of_defined,
    mean_proportion_interval,
    median_interval,
    proportion_interval,
)


def test_a_mean_has_students_t_interval():
    values = [96.9, 97.5, 97.1]
    estimate = mean_interval(values, "%")
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (estimate.low, estimate.high) == pytest.approx(expected)


def test_a_mean_has_the_spread_and_number_of_its_values():
    estimate = mean_interval(np.array([1.0, 2.0, 3.0]), "s")
    assert (estimate.value, estimate.spread, estimate.n, estimate.unit) == (2.0, 1.0, 3, "s")


def test_the_lower_bound_of_a_mean_is_clipped_to_the_minimum():
    assert mean_interval([1.0, 3.0], "s", least=0).low == 0


def test_the_upper_bound_of_a_mean_is_clipped_to_the_maximum():
    estimate = mean_interval([98.0, 100.0], "%", least=0, most=100)
    assert (estimate.value, estimate.high) == (99.0, 100)
    assert estimate.low is not None and 0 < estimate.low < 98


def test_an_interval_counts_the_defined_values():
    estimate = mean_interval_of_defined([10.0, np.nan, 20.0], "%", least=0, most=100)
    assert estimate is not None
    assert (estimate.value, estimate.n, estimate.low) == (15, 2, 0)
    assert estimate.high == pytest.approx(15 + 12.7062 * 5, abs=1e-4)  # Student's t with one degree of freedom
    assert mean_interval_of_defined([np.nan], "%", least=0, most=100) is None


def test_one_value_has_no_interval_and_no_spread():
    estimate = mean_interval([97.1], "%")
    assert (estimate.value, estimate.low, estimate.high, estimate.spread) == (97.1, None, None, None)


def test_equal_values_have_no_interval():
    estimate = mean_interval([0.1, 0.1, 0.1], "%")
    assert (estimate.low, estimate.high, estimate.spread) == (None, None, 0.0)


@pytest.mark.parametrize(("correct", "n"), [(500, 510), (0, 130), (130, 130), (1, 1)])
def test_a_proportion_has_wilsons_score_interval_in_per_cent(correct, n):
    expected = stats.binomtest(correct, n).proportion_ci(0.95, method="wilson")
    estimate = proportion_interval(correct, n)
    assert (estimate.low, estimate.high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-9)
    assert estimate.value == pytest.approx(100 * correct / n)
    assert (estimate.unit, estimate.n) == ("%", n)


@pytest.mark.parametrize("correct", [0, 7])
def test_a_proportion_stays_between_0_and_100(correct):
    estimate = proportion_interval(correct, 7)
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0 <= estimate.low < estimate.high <= 100


def test_the_mean_of_proportions_shares_four_added_images_among_the_groups():
    estimate = mean_proportion_interval([8, 5], [10, 20])
    variance = 9 / 12 * 3 / 12 / 11 + 6 / 22 * 16 / 22 / 21  # one correct and one wrong image are added to each group
    centre, half = (9 / 12 + 6 / 22) / 2, 1.959964 * variance**0.5 / 2
    assert (estimate.low, estimate.high) == pytest.approx((100 * (centre - half), 100 * (centre + half)))
    assert (estimate.value, estimate.n, estimate.unit) == (pytest.approx(100 * (0.8 + 0.25) / 2), 30, "%")


@pytest.mark.parametrize("correct", [0, 3])
def test_a_mean_of_equal_proportions_of_0_or_1_has_an_interval(correct):
    estimate = mean_proportion_interval([correct] * 10, [3] * 10)
    assert estimate.low is not None and estimate.high is not None
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 100
    assert 5 < estimate.high - estimate.low < 20


@pytest.mark.parametrize(("groups", "images"), [(2, 10), (10, 5), (10, 50)])
def test_the_interval_of_a_mean_of_proportions_covers_it_in_93_to_98_per_cent(groups, images):
    p = np.linspace(0.8, 1, groups)
    counts = np.random.default_rng(groups + images).binomial(images, p, (2_000, groups))
    intervals = [mean_proportion_interval(row, [images] * groups) for row in counts]
    covered = [each.low <= 90 <= each.high for each in intervals if each.low is not None and each.high is not None]
    assert 0.93 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (8, 1, 8), (9, 2, 8), (12, 3, 10), (25, 8, 18)])
def test_the_interval_of_a_median_is_the_tabulated_order_statistics(n, low, high):
    estimate = median_interval(range(n, 0, -1), "ms")  # ranks from tables of the sign test
    assert (estimate.value, estimate.low, estimate.high) == ((n + 1) / 2, low, high)


def test_five_values_are_too_few_for_a_median_interval():
    estimate = median_interval([1.0, 2.0, 3.0, 4.0, 5.0], "ms")
    assert (estimate.value, estimate.low, estimate.high) == (3.0, None, None)


def test_a_median_of_one_value_has_no_spread():
    assert median_interval([1.5], "x").spread is None


def test_a_median_interval_covers_the_median_of_a_skewed_distribution():
    rng = np.random.default_rng(0)
    estimates = [median_interval(rng.exponential(size=15), "s") for _ in range(1_000)]
    covered = [each.low is not None and each.low <= np.log(2) <= (each.high or 0) for each in estimates]
    assert 0.95 <= np.mean(covered) <= 0.98  # 96.5 % exactly
