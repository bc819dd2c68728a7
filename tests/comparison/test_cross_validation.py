"""Cross-validation: no head is fitted or tuned on the images that it predicts."""

from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import UInt8

from mixlab.comparison import cross_validation as module
from mixlab.comparison.cross_validation import CrossValidation, cross_validate, require_every_class, variance_factor
from mixlab.data.dataset import Dataset, Split
from mixlab.data.folds import Folds, Round, make_folds
from mixlab.errors import UserError
from mixlab.evaluation.probes.features import Features
from mixlab.evaluation.probes.ridge import FittedHead, fit_head
from mixlab.stats.paired import crossed_bootstrap

RIDGES = (0.01, 1.0)


@pytest.fixture
def folds() -> Folds:
    """60 images of 3 classes, in groups of three copies; half of the images are in the test split."""
    images = [np.full((1, 1, 3), index // 3, dtype=np.uint8) for index in range(60)]
    split = Split([f"p{index}" for index in range(60)], np.arange(60) // 3 % 3, images)
    halves = {"train": split.subset(np.arange(30)), "test": split.subset(np.arange(30, 60))}
    return make_folds(Dataset("pets", tuple("abc"), halves), 4)


@pytest.fixture
def features(folds: Folds) -> Features:
    """The first channel identifies the image content, the others encode the class."""
    labels = folds.images.split.labels
    content = np.array([image[0, 0, 0] for image in folds.images.split.images])  # pyright: ignore
    noise = np.random.default_rng(0).normal(0, 0.1, (60, 3))
    return Features(np.column_stack([content, np.eye(3)[labels] + noise]).astype(np.float32), labels, {})


def predict(features: Features, folds: Folds) -> CrossValidation:
    return cross_validate(features, list(folds.rounds()), 3, RIDGES)


def test_no_head_is_fitted_or_tuned_on_an_image_that_it_evaluates_or_on_a_copy(features, folds, monkeypatch):
    used_for_fitting: list[set[float]] = []

    def recording_fit(train: Features, validation: Features, *arguments: object) -> FittedHead:
        contents = [set(split.values[:, 0].tolist()) for split in (train, validation)]
        assert not contents[0] & contents[1]
        used_for_fitting.append(contents[0] | contents[1])
        return fit_head(train, validation, *arguments)  # pyright: ignore

    monkeypatch.setattr(module, "fit_head", recording_fit)
    result = predict(features, folds)
    evaluated = [set(features.values[result.round_of == index, 0].tolist()) for index in range(4)]
    for fitting_images, test_images in zip(used_for_fitting, evaluated, strict=True):
        assert fitting_images and test_images and not fitting_images & test_images
    assert set().union(*evaluated) == set(range(20))


def test_the_test_labels_of_a_round_do_not_change_its_head(features, folds):
    (first, *_) = folds.rounds()
    labels = features.labels.copy()
    labels[first.test] = (labels[first.test] + 1) % 3
    before, after = (predict(each, folds) for each in (features, Features(features.values, labels, {})))
    np.testing.assert_array_equal(before.heads[0].head.weight, after.heads[0].head.weight)
    assert before.correct[first.test].all() and not after.correct[first.test].any()


def test_predictions_are_in_the_order_of_the_images(features, folds):
    result = predict(features, folds)
    np.testing.assert_array_equal(result.labels, features.labels)
    np.testing.assert_array_equal(result.round_of, folds.fold_of)
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1)
    assert result.correct.all()
    confusion = result.evaluation(("a", "b", "c")).confusion
    assert confusion.toarray().tolist() == np.diag([21, 21, 18]).tolist()


def test_the_same_features_give_the_same_predictions(features, folds):
    first, again = (predict(features, folds).probabilities for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_the_accuracy_of_a_round_is_that_of_its_images(features, folds):
    result = predict(features, folds)
    wrong = replace(result, labels=np.where(result.round_of == 1, (result.labels + 1) % 3, result.labels))
    assert wrong.top1_of_rounds == [100.0, 0.0, 100.0, 100.0]


def simulated_features(images: int, seed: int) -> list[Features]:
    """Features of four classes from two models with 64 channels each; those of the second model are noisier."""
    random, mixing = np.random.default_rng(seed), np.random.default_rng(99)
    labels = np.arange(images) % 4
    latent = 1.6 * np.eye(4)[labels] + random.normal(0, 1, (images, 4))
    return [
        Features(
            (latent @ mixing.normal(0, 0.5, (4, 64)) + random.normal(0, noise, (images, 64))).astype(np.float32),
            labels,
            {},
        )
        for noise in (1.0, 1.15)
    ]


@pytest.mark.parametrize(("folds", "factor"), [(1, 1.0), (2, 3.0), (5, 2.25)])
def test_the_variance_over_folds_is_that_of_nadeau_and_bengio(folds, factor):
    assert variance_factor(folds) == factor
    if folds > 1:  # 1 / k + (test images) / (training images), relative to 1 / k
        assert factor == pytest.approx((1 / folds + 1 / (folds - 1)) * folds)


@pytest.mark.long
def test_a_95_percent_interval_contains_the_true_difference():
    """The true difference is that of heads fitted on this many images and tested on new ones, averaged over 200 runs.

    `benchmarks/recommendation.py --part folds` measures other settings; decision 8 has the figures.
    """
    images, simulations = 200, 200
    new_images = simulated_features(20_000, seed=10**6)
    split = Split(
        [str(index) for index in range(images)], new_images[0].labels[:images], list(_distinct_images(images))
    )
    halves = {"train": split.subset(np.arange(100)), "test": split.subset(np.arange(100, images))}
    rounds = list(make_folds(Dataset("simulated", tuple("abcd"), halves), 5).rounds())
    differences, intervals = [], []
    for seed in range(simulations):
        a, b = (cross_validate(each, rounds, 4, (0.01, 0.1, 1.0, 10.0)) for each in simulated_features(images, seed))
        top1_a, top1_b = (fit.heads[0].head.top1(test) for fit, test in zip((a, b), new_images, strict=True))
        differences.append(top1_a - top1_b)
        factor = variance_factor(len(a.heads))
        intervals.append(
            crossed_bootstrap(
                a.correct[None], b.correct[None], image_variance_factor=factor, resamples=1_999, seed=seed
            )
        )
    coverage = 100 * np.mean([interval.low <= np.mean(differences) <= interval.high for interval in intervals])
    assert coverage >= 93  # 90 without the factor


def _distinct_images(images: int) -> UInt8[np.ndarray, "image 1 1 3"]:
    return np.arange(3 * images, dtype=np.uint16).view(np.uint8)[: 3 * images].reshape(images, 1, 1, 3)


@pytest.mark.parametrize("noun", ["image", "sound"])
def test_a_round_without_a_class_is_refused(noun):
    split = Split(list("abc"), np.array([0, 1, 1]), [np.zeros((8, 8, 3), np.uint8)] * 3)
    dataset = Dataset("pets", ("cat", "dog"), {"train": split}, noun=noun)
    without_cats = Round(np.array([1]), np.array([2]), np.array([0]))
    sentence = f'few different {noun}s of "cat" for separate training, validation and test {noun}s .*: add {noun}s'
    with pytest.raises(UserError, match=sentence):
        require_every_class(dataset, split, [without_cats])
