"""The head in closed form against what defines it: the penalised least squares, numpy's own, and scipy's search."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import softmax

from mixlab.evaluation.probes.features import Features
from mixlab.evaluation.probes.ridge import fit_head, fit_temperature, ridge_path

Draw = Callable[..., Features]


@pytest.fixture
def draw() -> Draw:
    """Images of three classes around a centre each; `noise` is the deviation around it."""
    centres = np.random.default_rng(0).normal(size=(3, 6))

    def drawn(images: int, noise: float = 0.5, seed: int = 1) -> Features:
        random = np.random.default_rng(seed)
        labels = random.integers(3, size=images)
        values = centres[labels] + noise * random.normal(size=(images, 6))
        return Features((3 * values + 20).astype(np.float32), labels, {})

    return drawn


def test_a_head_minimises_the_penalised_squares(draw):
    """The gradient of |Y - Xw - b|^2 / n + ridge |w|^2 of standardised features, the intercept free, is 0."""
    images, ridge = draw(80), 0.3
    ((_, head),) = ridge_path(images, 3, [ridge])
    values = images.values.astype(np.float64)
    deviation = values.std(axis=0)
    residual = head.logits(values) - np.eye(3)[images.labels]
    slopes = head.weight * deviation
    standard = (values - values.mean(axis=0)) / deviation
    np.testing.assert_allclose(residual.T @ standard / len(values) + ridge * slopes, 0, atol=1e-12)
    np.testing.assert_allclose(residual.mean(axis=0), 0, atol=1e-12)


def test_without_a_ridge_worth_the_name_it_is_least_squares(draw):
    images = draw(80)
    ((_, head),) = ridge_path(images, 3, [1e-12])
    design = np.column_stack([images.values.astype(np.float64), np.ones(80)])
    expected, *_ = np.linalg.lstsq(design, np.eye(3)[images.labels], rcond=None)
    np.testing.assert_allclose(np.column_stack([head.weight, head.bias]), expected.T, atol=1e-8)


def test_a_huge_ridge_answers_with_the_shares_of_the_classes(draw):
    images = draw(80)
    ((_, head),) = ridge_path(images, 3, [1e12])
    share = np.bincount(images.labels) / 80
    np.testing.assert_allclose(head.logits(images.values), np.tile(share, (80, 1)), atol=1e-9)


def test_fewer_images_than_channels_and_a_channel_that_never_changes_are_no_matter(draw):
    few = draw(4)
    values = np.column_stack([few.values, np.full(4, 7, dtype=np.float32)])
    ((_, head),) = ridge_path(Features(values, few.labels, {}), 3, [0.1])
    assert np.isfinite(head.weight).all()
    assert (head.weight[:, -1] == 0).all()


def test_validation_chooses_the_ridge_and_every_one_is_told(draw):
    ridges = (1e-6, 1.0, 1e6)
    chosen = fit_head(draw(8, noise=1.5), draw(400, noise=1.5, seed=2), 3, ridges)
    assert tuple(chosen.tried) == ridges
    assert chosen.ridge == 1.0
    assert chosen.tried[1.0] == max(chosen.tried.values())
    assert chosen.head.top1(draw(400, noise=1.5, seed=2)) == chosen.tried[1.0]


def test_of_equally_good_ridges_the_largest_is_taken_in_whatever_order_they_come(draw):
    chosen = fit_head(draw(80, noise=0.01), draw(40, noise=0.01, seed=2), 3, (0.1, 0.001, 0.01))
    assert chosen.tried == {0.001: 100.0, 0.01: 100.0, 0.1: 100.0}
    assert chosen.ridge == 0.1


def test_a_temperature_makes_over_and_underconfident_answers_alike():
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(20_000, 4))
    labels = np.array([random.choice(4, p=row) for row in softmax(logits, axis=1)])
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.03)
    assert fit_temperature(5 * logits, labels) == pytest.approx(5, abs=0.15)


def test_answers_that_are_all_right_call_for_no_certainty():
    labels = np.arange(30) % 3
    temperature = fit_temperature(np.eye(3)[labels], labels)
    sure = softmax(np.eye(3)[labels] / temperature, axis=1).max(axis=1)
    assert sure == pytest.approx(1 - 2 / 3 / 31, abs=1e-4)  # as one image more, answered by chance, would have it


def test_the_chosen_head_is_calibrated_on_validation(draw):
    train, validation = draw(200, noise=1.5), draw(2000, noise=1.5, seed=2)
    chosen = fit_head(train, validation, 3, (1.0,))
    ((_, plain),) = ridge_path(train, 3, (1.0,))
    assert chosen.head.loss(validation) < plain.loss(validation) - 0.1
    assert chosen.head.loss(validation) <= min(
        plain.scaled_by_temperature(chosen.temperature * factor).loss(validation) for factor in (0.8, 1.25)
    )
