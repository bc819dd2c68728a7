"""The jackknife of a mean over pairs, compared with its definition and with the frequency of false alarms."""

from itertools import combinations
from statistics import fmean

import numpy as np
import pytest

from mixlab.stats.paired_t import two_sided_p
from mixlab.stats.pairs_of_repetitions import pseudo_values


@pytest.mark.parametrize("n", [3, 4, 7])
def test_the_values_are_those_of_leaving_out_one_repetition(n):
    matrix = np.random.default_rng(n).normal(size=(n, n))
    matrix += matrix.T

    def mean(repetitions: list[int]) -> float:
        return fmean(float(matrix[pair]) for pair in combinations(repetitions, 2))

    every = list(range(n))
    expected = [n * mean(every) - (n - 1) * mean([one for one in every if one != left_out]) for left_out in every]
    assert pseudo_values(matrix) == pytest.approx(expected)
    assert fmean(pseudo_values(matrix)) == pytest.approx(mean(every))


def test_a_sum_over_the_repetitions_of_a_pair_has_the_values_of_its_terms():
    """Then the test is Student's t of one value per repetition."""
    terms = np.array([0.3, -1.2, 0.8, 2.0])
    assert pseudo_values(terms[:, None] + terms) == pytest.approx(2 * terms)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids="a share of {:g} from each repetition".format)
def test_false_alarms_are_at_most_five_per_cent(share):
    """The value of a pair is the sum of a part of each repetition and a part of its own, all of mean 0."""
    random, alarms, samples = np.random.default_rng(0), 0, 4_000
    for _ in range(samples):
        terms, own = random.normal(size=3), random.normal(size=(3, 3))
        alarms += two_sided_p(pseudo_values(share * (terms[:, None] + terms) + (1 - share) * (own + own.T))) < 0.05
    assert alarms / samples <= 0.055


def test_pairs_that_are_counted_as_samples_would_have_more_false_alarms():
    random, alarms, samples = np.random.default_rng(0), 0, 4_000
    for _ in range(samples):
        terms = random.normal(size=3)
        pairs = [terms[a] + terms[b] for a, b in combinations(range(3), 2)]
        alarms += two_sided_p(pairs) < 0.05
    assert alarms / samples > 0.1
