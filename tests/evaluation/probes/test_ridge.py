"""Closed-form heads: penalised least squares, selection of the penalty, temperature scaling."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from mixlab.evaluation.probes.classifier import merge
from mixlab.evaluation.probes.features import Features
from mixlab.evaluation.probes.ridge import Ridge, fit_head, fit_temperature, ridge_path

MakeFeatures = Callable[..., Features]


@pytest.fixture
def make_features() -> MakeFeatures:
    """Random features of three classes; `noise` is the standard deviation around the centre of a class."""
    centres = np.random.default_rng(0).normal(size=(3, 6))

    def make(images: int, noise: float = 0.5, seed: int = 1) -> Features:
        random = np.random.default_rng(seed)
        labels = random.integers(3, size=images)
        values = centres[labels] + noise * random.normal(size=(images, 6))
        return Features((3 * values + 20).astype(np.float32), labels, {})

    return make


def test_the_head_minimises_the_penalised_least_squares(make_features):
    """The gradient of |Y - Xw - b|^2 / n + ridge |w|^2 is 0, with standardised features and an unpenalised b."""
    images, ridge = make_features(80), 0.3
    ((_, head),) = ridge_path(images, 3, [ridge])
    values = images.values.astype(np.float64)
    deviation = values.std(axis=0)
    residual = head.logits(values) - np.eye(3)[images.labels]
    slopes = head.weight * deviation
    standard = (values - values.mean(axis=0)) / deviation
    np.testing.assert_allclose(residual.T @ standard / len(values) + ridge * slopes, 0, atol=1e-12)
    np.testing.assert_allclose(residual.mean(axis=0), 0, atol=1e-12)


def test_a_tiny_ridge_gives_ordinary_least_squares(make_features):
    images = make_features(80)
    ((_, head),) = ridge_path(images, 3, [1e-12])
    design = np.column_stack([images.values.astype(np.float64), np.ones(80)])
    expected, *_ = np.linalg.lstsq(design, np.eye(3)[images.labels], rcond=None)
    np.testing.assert_allclose(np.column_stack([head.weight, head.bias]), expected.T, atol=1e-8)


def test_a_huge_ridge_predicts_the_class_frequencies(make_features):
    images = make_features(80)
    ((_, head),) = ridge_path(images, 3, [1e12])
    share = np.bincount(images.labels) / 80
    np.testing.assert_allclose(head.logits(images.values), np.tile(share, (80, 1)), atol=1e-9)


def test_few_images_and_constant_channels_are_supported(make_features):
    few = make_features(4)
    values = np.column_stack([few.values, np.full(4, 7, dtype=np.float32)])
    ((_, head),) = ridge_path(Features(values, few.labels, {}), 3, [0.1])
    assert np.isfinite(head.weight).all()
    assert (head.weight[:, -1] == 0).all()


def test_validation_selects_the_ridge_and_every_candidate_is_reported(make_features):
    ridges = (1e-6, 1.0, 1e6)
    fitted = fit_head(make_features(8, noise=1.5), make_features(400, noise=1.5, seed=2), 3, ridges)
    assert tuple(fitted.tried) == ridges
    assert fitted.ridge == 1.0
    assert fitted.tried[1.0] == max(fitted.tried.values())
    assert fitted.head.top1(make_features(400, noise=1.5, seed=2)) == fitted.tried[1.0]


def test_the_largest_of_equally_good_ridges_is_selected_in_any_order(make_features):
    fitted = fit_head(make_features(80, noise=0.01), make_features(40, noise=0.01, seed=2), 3, (0.1, 0.001, 0.01))
    assert fitted.tried == {0.001: 100.0, 0.01: 100.0, 0.1: 100.0}
    assert fitted.ridge == 0.1


def test_the_temperature_calibrates_overconfident_logits():
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(20_000, 4))
    labels = np.array([random.choice(4, p=row) for row in softmax(logits, axis=1)])
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.03)
    assert fit_temperature(5 * logits, labels) == pytest.approx(5, abs=0.15)


def test_correct_logits_do_not_give_probabilities_of_1():
    labels = np.arange(30) % 3
    temperature = fit_temperature(np.eye(3)[labels], labels)
    confidence = softmax(np.eye(3)[labels] / temperature, axis=1).max(axis=1)
    # The mean of 30 correct images and one additional image that belongs to every class equally.
    assert confidence == pytest.approx(1 - 2 / 3 / 31, abs=1e-4)


def test_the_selected_head_is_calibrated_on_validation(make_features):
    train, validation = make_features(200, noise=1.5), make_features(2000, noise=1.5, seed=2)
    fitted = fit_head(train, validation, 3, (1.0,))
    ((_, plain),) = ridge_path(train, 3, (1.0,))
    assert fitted.head.loss(validation) < plain.loss(validation) - 0.1
    assert fitted.head.loss(validation) <= min(
        plain.scaled_by_temperature(fitted.temperature * factor).loss(validation) for factor in (0.8, 1.25)
    )


def test_the_probe_selects_on_validation_and_fits_to_both_splits(make_features):
    train, validation = make_features(8, noise=1.5), make_features(400, noise=1.5, seed=2)
    selected = fit_head(train, validation, 3, (1e-6, 1.0, 1e6))
    fitted = Ridge((1e-6, 1.0, 1e6)).fit(train, validation, ("a", "b", "c"))
    assert (fitted.penalty, fitted.tried, fitted.images) == (selected.ridge, selected.tried, 408)
    ((_, expected),) = ridge_path(merge(train, validation), 3, [selected.ridge])
    head: Any = fitted.classifier
    np.testing.assert_array_equal(head.weight, expected.weight)


def test_predictions_do_not_depend_on_blocks(make_features, monkeypatch):
    images = make_features(80)
    ((_, head),) = ridge_path(images, 3, [0.1])
    whole = head.predict(images.values)
    assert (whole == head.logits(images.values).argmax(axis=1)).all()
    monkeypatch.setattr("mixlab.evaluation.probes.ridge._BLOCK", 7)
    assert (head.predict(images.values) == whole).all()
