"""The exact McNemar test; tests/stats/test_against_statsmodels.py compares it with statsmodels."""

import pytest
from scipy.stats import binom

from mixlab.stats.mcnemar import mcnemar_p


def test_the_p_value_is_that_of_the_sign_test():
    assert mcnemar_p(6, 0) == 2 / 2**6
    assert mcnemar_p(1, 7) == 2 * (1 + 8) / 2**8
    assert mcnemar_p(7, 1) == mcnemar_p(1, 7)


def test_without_disagreements_or_with_equal_numbers_p_is_1():
    assert mcnemar_p(0, 0) == mcnemar_p(3, 3) == 1
    assert mcnemar_p(4, 3) == pytest.approx(1)


def test_five_disagreements_are_never_significant_and_six_can_be():
    assert mcnemar_p(5, 0) > 0.05 > mcnemar_p(6, 0)


@pytest.mark.parametrize("disagreements", [1, 5, 6, 17, 50, 400])
def test_false_alarms_occur_in_at_most_5_per_cent(disagreements):
    alarms = [only_a for only_a in range(disagreements + 1) if mcnemar_p(only_a, disagreements - only_a) < 0.05]
    assert binom.pmf(alarms, disagreements, 0.5).sum() <= 0.05
