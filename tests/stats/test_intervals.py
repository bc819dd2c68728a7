import numpy as np
import pytest
from scipy import stats

from mixlab.stats.intervals import mean_interval, median_interval, proportion_interval


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
