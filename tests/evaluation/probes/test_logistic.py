"""Logistic regression agrees with scikit-learn's, and satisfies its optimality condition."""

from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from mixlab.evaluation.probes import logistic as module
from mixlab.evaluation.probes.logistic import Logistic, logistic_path

CLASSES = ("a", "b", "c")


@pytest.mark.parametrize("penalty", [1e-3, 0.1])
def test_probabilities_are_those_of_scikit_learn(blobs, penalty):
    train, test = blobs(120), blobs(50, seed=2)
    mean, deviation = train.values.mean(axis=0, dtype=np.float64), train.values.std(axis=0, dtype=np.float64)
    reference = LogisticRegression(C=1 / (penalty * 120), tol=1e-10, max_iter=10_000)
    reference.fit((train.values - mean) / deviation, train.labels)
    expected = reference.predict_proba((test.values - mean) / deviation)
    (fitted,) = logistic_path(train, 3, [penalty])
    np.testing.assert_allclose(softmax(fitted.head.logits(test.values), axis=1), expected, atol=1e-4)


def test_the_gradient_of_the_penalised_loss_is_zero(blobs):
    train, penalty = blobs(120), 0.01
    (fitted,) = logistic_path(train, 3, [penalty])
    values = train.values.astype(np.float64)
    deviation = values.std(axis=0)
    residual = (softmax(fitted.head.logits(values), axis=1) - np.eye(3)[train.labels]) / 120
    gradient = residual.T @ ((values - values.mean(axis=0)) / deviation) + penalty * fitted.head.weight * deviation
    assert fitted.converged
    np.testing.assert_allclose(gradient, 0, atol=1.1e-6)
    np.testing.assert_allclose(residual.sum(axis=0), 0, atol=1.1e-6)
    assert fitted.loss == pytest.approx(fitted.head.loss(train))


def test_a_warm_start_gives_the_same_minimum(blobs):
    train = blobs(120)
    *_, after_others = logistic_path(train, 3, [1.0, 0.1, 0.01])
    (alone,) = logistic_path(train, 3, [0.01])
    assert after_others.penalty == 0.01
    np.testing.assert_allclose(after_others.head.weight, alone.head.weight, atol=1e-3)


def test_a_huge_penalty_predicts_the_class_frequencies(blobs):
    train = blobs(100)
    (fitted,) = logistic_path(train, 3, [1e6])
    probabilities = softmax(fitted.head.logits(train.values), axis=1)
    np.testing.assert_allclose(probabilities, np.tile(np.bincount(train.labels) / 100, (100, 1)), atol=1e-4)


def test_validation_selects_the_penalty_and_the_final_fit_has_its_images(blobs):
    train, validation = (blobs(n, channels=20, noise=3, seed=n) for n in (12, 400))
    fitted = Logistic((1e-5, 0.1, 1e6)).fit(train, validation, CLASSES)
    assert set(fitted.tried) == {1e-5, 0.1, 1e6}
    assert fitted.penalty == 0.1
    assert fitted.tried[0.1] == max(fitted.tried.values())
    assert fitted.images == 412
    merged = module.merge(train, validation)
    head: Any = fitted.classifier
    (expected,) = logistic_path(merged, 3, [0.1])
    np.testing.assert_array_equal(head.weight, expected.head.weight)


def test_the_largest_of_equally_good_penalties_is_selected(blobs):
    easy = blobs(60, noise=0.01)
    fitted = Logistic((0.001, 0.1, 0.01)).fit(easy, blobs(30, noise=0.01, seed=2), CLASSES)
    assert set(fitted.tried.values()) == {100.0}
    assert fitted.penalty == 0.1


def test_an_unfinished_fit_is_reported(blobs, monkeypatch):
    monkeypatch.setattr(module, "_MAX_ITERATIONS", 2)
    fitted = Logistic((1e-3,)).fit(blobs(60), blobs(30, seed=2), CLASSES)
    assert fitted.notes == ("L-BFGS did not converge in 2 iterations.",)
