"""The exact McNemar test and Holm's adjustment, compared with statsmodels."""

from typing import Any

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from mixlab.stats.mcnemar import mcnemar_p
from mixlab.stats.paired import holm


@pytest.mark.parametrize("only_b", [0, 1, 4, 20, 300, 5_000])
@pytest.mark.parametrize("only_a", [0, 1, 2, 5, 21, 300, 5_100])
def test_the_exact_mcnemar_test_equals_statsmodels(only_a, only_b):
    expected: Any = mcnemar([[700, only_a], [only_b, 90]], exact=True)
    assert mcnemar_p(only_a, only_b) == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("size", [1, 2, 10, 200])
def test_holms_adjustment_equals_statsmodels(size):
    p = np.random.default_rng(size).beta(0.3, 1, size)
    p[size // 2 :: 3] = p[0]  # ties
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)
