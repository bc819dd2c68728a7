"""Few-shot classification is the formula of big_vision, written out here with the constant feature in the matrix."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mixlab.errors import UserError
from mixlab.evaluation.probes.few_shot import FewShot, draw, fit_few_shot


def reference_logits(train, labels, classes, test):
    """In float64: W = (X'X + 1024 I)^-1 X'Y with the normalised features and the constant 100."""
    train, test = train.astype(np.float64), test.astype(np.float64)
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-5
    x, x_test = (np.column_stack([(each - mean) / deviation, np.full(len(each), 100.0)]) for each in (train, test))
    y = 2 * np.eye(classes)[labels] - 1
    return x_test @ (np.linalg.inv(x.T @ x + 1024 * np.eye(x.shape[1])) @ x.T @ y)


@pytest.mark.parametrize("shots", [2, 10, 30])
@pytest.mark.parametrize("channels", [4, 40])
def test_logits_are_those_of_the_formula_with_more_and_with_fewer_images_than_channels(blobs, shots, channels):
    train, test = blobs(120, channels=channels), blobs(50, channels=channels, seed=2)
    members = draw(train.labels, 3, shots, seed=0)
    indices = np.concatenate(members)
    expected = reference_logits(train.values[indices], train.labels[indices], 3, test.values)
    head = fit_few_shot(train.values.astype(np.float64), members)
    np.testing.assert_allclose(head.logits(test.values), expected, rtol=1e-9, atol=1e-9)
    in_float32 = fit_few_shot(train.values, members)
    np.testing.assert_allclose(in_float32.logits(test.values), expected, rtol=1e-5, atol=1e-5)


def test_blocks_do_not_change_the_result(blobs, monkeypatch):
    train = blobs(60)
    members = draw(train.labels, 3, 20, seed=0)
    whole = fit_few_shot(train.values, members)
    monkeypatch.setattr("mixlab.evaluation.probes.few_shot._BLOCK", 7)
    np.testing.assert_allclose(fit_few_shot(train.values, members).weight, whole.weight, rtol=1e-5)


def test_classes_with_different_numbers_of_images_follow_the_formula(blobs):
    train = blobs(60)
    members = [each[:count] for each, count in zip(draw(train.labels, 3, 20, seed=0), (3, 9, 20), strict=True)]
    indices = np.concatenate(members)
    expected = reference_logits(train.values[indices], train.labels[indices], 3, train.values)
    logits = fit_few_shot(train.values.astype(np.float64), members).logits(train.values)
    np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-9)


def test_a_constant_channel_has_no_effect(blobs):
    train = blobs(60)
    members = draw(train.labels, 3, 10, seed=0)
    with_constant = np.column_stack([train.values, np.full(60, 7, dtype=np.float32)])
    head, other = fit_few_shot(train.values, members), fit_few_shot(with_constant, members)
    np.testing.assert_allclose(other.logits(with_constant), head.logits(train.values), rtol=1e-6, atol=1e-6)


def test_images_are_drawn_by_a_permutation_of_each_class(blobs):
    labels = blobs(60).labels
    rng = np.random.default_rng(2)
    expected = [rng.permutation(np.where(labels == label)[0])[:5] for label in range(3)]
    drawn = draw(labels, 3, 5, seed=2)
    assert [each.tolist() for each in drawn] == [each.tolist() for each in expected]
    assert [each[:3].tolist() for each in drawn] == [each.tolist() for each in draw(labels, 3, 3, seed=2)]


def test_seeds_draw_different_images_also_of_validation(blobs):
    train, validation = blobs(30), blobs(30, seed=2)
    fitted = [FewShot(5).fit(train, validation, ("a", "b", "c"), seed) for seed in FewShot(5).seeds]
    assert [each.images for each in fitted] == [15] * 3
    heads: list[Any] = [each.classifier for each in fitted]
    assert len({tuple(head.bias) for head in heads}) == 3
    assert FewShot(15).fit(train, validation, ("a", "b", "c")).images == 45


@pytest.mark.parametrize("noun", ["image", "sound"])
def test_a_class_with_fewer_images_is_named(blobs, noun):
    train = replace(blobs(11), noun=noun)
    message = f'fewshot:4 needs 4 training {noun}s of each class, but "c" has 3: give fewshot:3, or add {noun}s.'
    with pytest.raises(UserError, match=f"^{message}$"):
        FewShot(4).fit(train, None, ("a", "b", "c"))


@pytest.mark.parametrize("noun", ["image", "sound"])
def test_a_class_without_images_is_named(blobs, noun):
    message = f'fewshot:1 needs 1 training {noun} of each class, but "d" has 0: add {noun}s, or remove it.'
    with pytest.raises(UserError, match=f"^{message}$"):
        FewShot(1).fit(replace(blobs(30), noun=noun), None, ("a", "b", "c", "d"))


def test_no_copy_of_the_features_is_made(blobs):
    """Peak memory beside the features: the Gram matrix, and blocks that do not grow with the images."""

    def peak(images):
        train = blobs(images, channels=64)
        members = draw(train.labels, 3, images // 3, seed=0)
        tracemalloc.start()
        fit_few_shot(train.values, members)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    grown = peak(30_000) - peak(15_000)
    assert grown < 0.1 * 15_000 * 64 * 4
