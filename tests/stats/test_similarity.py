"""Similarity of features and of errors: exact values and invariances."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from mixlab.stats.similarity import debiased_cka, error_consistency, gram, unbiased_hsic


def cka(first: np.ndarray, second: np.ndarray) -> float:
    one, other = gram(first), gram(second)
    return debiased_cka(unbiased_hsic(one, other), unbiased_hsic(one, one), unbiased_hsic(other, other))


def features(count: int, seed: int = 0, images: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(images, count))


def test_features_are_similar_to_their_rotations_multiples_and_shifts():
    x = features(6)
    rotation = np.linalg.qr(features(6, 1, 6))[0]
    assert cka(x, x) == pytest.approx(1)
    assert cka(x, 3 * x @ rotation + 5) == pytest.approx(1)
    assert cka(x, x * np.arange(1, 7)) < 0.99


def test_independent_features_have_an_expected_hsic_of_0_also_with_more_features_than_images():
    values = [
        unbiased_hsic(gram(features(200, 2 * seed, 12)), gram(features(200, 2 * seed + 1, 12))) for seed in range(300)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / 300**0.5


def test_hsic_of_four_images_is_the_average_over_all_orders_of_the_centred_product():
    one, other = gram(features(3, 0, 4)), gram(features(2, 1, 4))
    terms = [
        one[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q]) for i, j, q, r in permutations(range(4))
    ]  # the U-statistic that the estimator abbreviates
    assert unbiased_hsic(one, other) == pytest.approx(np.mean(terms))


def test_constant_features_have_no_similarity():
    assert cka(np.ones((8, 3)), features(3, images=8)) == 0


def test_error_consistency_is_cohens_kappa():
    first = np.array([True] * 6 + [False] * 4)
    second = np.array([True] * 5 + [False] * 4 + [True])
    assert error_consistency(first, second) == pytest.approx(cohen_kappa_score(first, second))
    assert error_consistency(first, first) == pytest.approx(1)
    assert error_consistency(np.ones(5, dtype=bool), np.ones(5, dtype=bool)) is None
