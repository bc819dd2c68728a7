"""The metrics of several labels per image are those of scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from mixlab.tasks.multilabel_metrics import (
    DEFAULT_THRESHOLD,
    average_precision,
    average_precisions,
    best_thresholds,
    confusion_counts,
    f1,
)


@pytest.fixture(params=[0, 1, 2])
def case(request) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with many ties, and labels of which one is rare."""
    rng = np.random.default_rng(request.param)
    probabilities = rng.integers(0, 12, (60, 4)) / 12
    return probabilities, rng.random((60, 4)) < [0.5, 0.3, 0.1, 0.7]


def test_average_precision_is_that_of_scikit_learn(case):
    probabilities, truth = case
    np.testing.assert_allclose(
        average_precisions(probabilities, truth),
        [average_precision_score(*columns) for columns in zip(truth.T, probabilities.T, strict=True)],
    )


def test_weighted_average_precision_is_that_of_repeated_images(case):
    probabilities, truth = case[0][:, 0], case[1][:, 0]
    counts = np.random.default_rng(0).integers(0, 4, (5, len(truth)))
    expected = [average_precision_score(truth.repeat(each), probabilities.repeat(each)) for each in counts]
    np.testing.assert_allclose(average_precision(probabilities, truth, counts), expected)


def test_average_precision_of_a_label_that_no_image_has_is_undefined():
    assert np.isnan(average_precision(np.array([0.1, 0.2]), np.array([False, False]))).all()


def test_f1_is_that_of_scikit_learn(case):
    probabilities, truth = case
    predicted = probabilities > 0.5
    counts = confusion_counts(predicted, truth)
    np.testing.assert_allclose(f1(*counts), [f1_score(*columns) for columns in zip(truth.T, predicted.T, strict=True)])
    assert f1(*counts.sum(axis=1)) == pytest.approx(f1_score(truth, predicted, average="micro"))
    assert f1(*counts).mean() == pytest.approx(f1_score(truth, predicted, average="macro"))


def test_f1_of_a_label_that_is_neither_present_nor_predicted_is_undefined():
    assert np.isnan(f1(np.array(0), np.array(0), np.array(0)))


def test_no_other_threshold_has_a_higher_f1(case):
    probabilities, truth = case
    for scores, present, threshold in zip(probabilities.T, truth.T, best_thresholds(probabilities, truth), strict=True):
        reached = f1_score(present, scores >= threshold)
        assert reached == max(f1_score(present, scores >= each) for each in np.linspace(0, 1, 49))


def test_a_threshold_lies_between_two_probabilities_and_is_one_half_without_images():
    probabilities = np.array([[0.9, 0.3], [0.7, 0.2], [0.1, 0.1]])
    truth = np.array([[True, False], [True, False], [False, False]])
    assert best_thresholds(probabilities, truth).tolist() == [pytest.approx(0.4), DEFAULT_THRESHOLD]
