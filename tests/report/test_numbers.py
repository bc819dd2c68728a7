import pytest

from mixlab.report.numbers import (
    decimals,
    decimals_of_intervals,
    duration,
    format_p,
    format_points,
    number,
    round_up,
    short,
    tick_labels,
)
from mixlab.stats.estimate import Estimate


def test_numbers_have_thousands_separators_and_a_minus_sign():
    assert number(-1234.56, 1) == "−1,234.6"


@pytest.mark.parametrize(
    ("values", "places"), [([97.4, 10.2], 1), ([1234.0], 0), ([0.0123], 4), ([], 0), ([float("inf"), 97.4], 1)]
)
def test_the_largest_number_has_three_significant_digits(values, places):
    assert decimals(values) == places


@pytest.mark.parametrize(
    ("bounds", "places"),
    [
        ([(-1.2, 0.97)], 2),
        ([(-0.0201, -0.0021), (-3.0, 2.0)], 4),
        ([(4.0, 4.0), (None, None)], 2),
        ([(0.0, float("inf"))], 2),
        ([], 2),
    ],
)
def test_half_of_the_narrowest_interval_has_two_significant_digits(bounds, places):
    estimates = [Estimate(0.0, low, high, n=3, unit="") for low, high in bounds]
    assert decimals_of_intervals(estimates) == places


def test_tick_labels_have_the_same_decimals():
    assert tick_labels([96.0, 96.5, 97.0]) == ["96.0", "96.5", "97.0"]


def test_long_tick_labels_are_abbreviated():
    assert tick_labels([5_000.0, 10_000.0, 2_500_000.0]) == ["5k", "10k", "2.5M"]


def test_parameter_counts_are_abbreviated():
    assert short(59_880_472) == "59.9M"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.34, "0.3 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3_590, "1 h"),
        (7_800, "2 h 10 min"),
        (86_399, "1 d"),
        (277_200, "3 d 5 h"),
    ],
)
def test_a_duration_has_at_most_its_two_largest_units(seconds, text):
    assert duration(seconds) == text


def test_points_are_singular_and_plural():
    assert [format_points(points) for points in (1, 0.5, 2)] == ["1 point", "0.5 points", "2 points"]


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0342, "p = 0.034"), (0.00004, "p < 0.001"), (1.0, "p = 1.000"), (0.0496, "p = 0.0496"), (0.0504, "p = 0.0504")],
)
def test_p_values_close_to_5_per_cent_show_on_which_side_they_are(p, text):
    assert format_p(p) == text


@pytest.mark.parametrize(("count", "rounded"), [(7, 7), (12.1, 13), (510, 510), (1_337.2, 1_400), (100_001, 110_000)])
def test_numbers_of_things_are_rounded_up_to_two_digits(count, rounded):
    assert round_up(count) == rounded
