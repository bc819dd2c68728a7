"""Student's t for paired differences, compared with SciPy and with the closed form for two degrees of freedom."""

import math

import numpy as np
import pytest
from scipy import stats

from mixlab.stats.intervals import mean_interval
from mixlab.stats.paired_t import equivalence_p, margin_p, two_sided_p

UNDEFINED = ([], [1.5], [2.0, 2.0, 2.0], [0.0, 0.0])


def paired(size: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(size)
    return random.normal(shift, 1, size), random.normal(0, 1, size)


@pytest.mark.parametrize("size", [2, 3, 5, 30])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 0.5, 40.0])
def test_two_sided_p_equals_the_paired_test_of_scipy(size, shift):
    a, b = paired(size, shift)
    assert two_sided_p((a - b).tolist()) == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)


@pytest.mark.parametrize("size", [2, 3, 5, 30])
@pytest.mark.parametrize(("shift", "margin"), [(0.0, 0.5), (0.5, 2.0), (-3.0, 1.0), (3.0, 3.0), (0.0, 60.0)])
def test_equivalence_p_is_the_larger_of_scipy_s_two_one_sided_tests(size, shift, margin):
    a, b = paired(size, shift)
    expected = max(
        stats.ttest_rel(a + margin, b, alternative="greater").pvalue,
        stats.ttest_rel(a - margin, b, alternative="less").pvalue,
    )
    assert equivalence_p((a - b).tolist(), margin) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("margin", [0.4, 1.0, 2.0])
def test_margin_p_is_below_five_per_cent_if_and_only_if_the_interval_excludes_the_margin(margin):
    decided = {"within": 0, "outside": 0}
    for shift in np.linspace(-4, 4, 81):
        differences = [shift - 0.2, shift, shift + 0.3, shift + 0.1]
        interval, p = mean_interval(differences, ""), margin_p(differences, margin)
        assert interval.low is not None and interval.high is not None
        is_within = -margin < interval.low and interval.high < margin
        is_outside = margin < interval.low or interval.high < -margin
        assert (p < 0.05) == (is_within or is_outside)
        if abs(interval.value) < margin:
            assert p == pytest.approx(2 * equivalence_p(differences, margin))
        decided["within"] += is_within
        decided["outside"] += is_outside
    assert min(decided.values()) > 0


def test_p_values_equal_the_closed_form_for_two_degrees_of_freedom():
    """With t on two degrees, P(T < -t) is (1 - t / √(2 + t²)) / 2; the mean is 2, its standard error 1 / √3."""
    differences = [1.0, 2.0, 3.0]

    def tail(t: float) -> float:
        return (1 - t / math.sqrt(2 + t**2)) / 2

    assert two_sided_p(differences) == pytest.approx(2 * tail(2 * math.sqrt(3)))
    assert two_sided_p(differences) == pytest.approx(0.074180, abs=1e-6)
    assert equivalence_p(differences, 5.0) == pytest.approx(tail((5 - 2) * math.sqrt(3)))
    assert equivalence_p(differences, 5.0) == pytest.approx(0.017549, abs=1e-6)


def test_the_sign_of_the_differences_does_not_matter():
    differences = [0.5, 1.0, -0.2, 0.7]
    negative = [-one for one in differences]
    assert two_sided_p(negative) == two_sided_p(differences)
    assert equivalence_p(negative, 1.0) == pytest.approx(equivalence_p(differences, 1.0))


def test_p_is_below_five_per_cent_if_and_only_if_the_interval_excludes_0():
    for shift in np.linspace(0, 3, 40):
        differences = [shift - 1, shift, shift + 1.2, shift + 0.1]
        interval = mean_interval(differences, "points")
        assert interval.low is not None
        assert (two_sided_p(differences) < 0.05) == (interval.low > 0)


def test_a_mean_beyond_the_margin_is_never_equivalent():
    assert equivalence_p([3.0, 3.1, 2.9], 2.0) > 0.99
    assert equivalence_p([2.0, 2.1, 1.9], 2.0) == pytest.approx(0.5)


@pytest.mark.parametrize("differences", UNDEFINED, ids=str)
def test_fewer_than_two_or_equal_differences_have_no_p_value(differences):
    assert math.isnan(two_sided_p(differences))
    assert math.isnan(equivalence_p(differences, 1.0))
    assert math.isnan(margin_p(differences, 1.0))
