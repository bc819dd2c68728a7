"""The metrics equal those of scikit-learn, on random predictions with missing classes."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from mixlab.evaluation.metrics import balanced_accuracy, confusion_matrix, f1, macro_f1, recall, topk_correct

CLASSES = 6

LabelsAndPredictions = tuple[np.ndarray, np.ndarray]

sklearn_metrics: Any = metrics  # its annotations do not accept average=None


@pytest.fixture(params=range(5))
def data(request: pytest.FixtureRequest) -> LabelsAndPredictions:
    """Labels without class 2, predictions without classes 2 and 4; about half of the predictions are correct."""
    random = np.random.default_rng(request.param)
    labels = random.choice([0, 1, 3, 4, 5], size=60)
    random_predictions = random.choice([0, 1, 3, 5], size=60)
    return labels, np.where((random.random(60) < 0.5) & (labels != 4), labels, random_predictions)


def test_the_rows_of_the_confusion_matrix_are_true_classes(data: LabelsAndPredictions):
    expected = sklearn_metrics.confusion_matrix(*data, labels=range(CLASSES))
    assert (confusion_matrix(*data, CLASSES) == expected).all()


def test_recall_equals_scikit_learn_and_is_nan_for_a_class_without_images(data: LabelsAndPredictions):
    expected = sklearn_metrics.recall_score(*data, labels=range(CLASSES), average=None, zero_division=np.nan)
    np.testing.assert_allclose(recall(confusion_matrix(*data, CLASSES)), expected)


def test_f1_equals_scikit_learn_and_is_nan_for_a_class_that_never_occurs(data: LabelsAndPredictions):
    expected = sklearn_metrics.f1_score(*data, labels=range(CLASSES), average=None, zero_division=np.nan)
    np.testing.assert_allclose(f1(confusion_matrix(*data, CLASSES)), expected)


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_have_images(data: LabelsAndPredictions):
    """scikit-learn warns if a class without images is predicted, which does not happen in this data."""
    expected = sklearn_metrics.balanced_accuracy_score(*data)
    assert balanced_accuracy(confusion_matrix(*data, CLASSES)) == pytest.approx(expected)


def test_macro_f1_is_the_mean_over_the_classes_that_occur(data: LabelsAndPredictions):
    expected = sklearn_metrics.f1_score(*data, average="macro")
    assert macro_f1(confusion_matrix(*data, CLASSES)) == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_topk_equals_scikit_learn_without_ties(k):
    random = np.random.default_rng(0)
    probabilities, labels = random.dirichlet(np.ones(CLASSES), size=50), random.integers(CLASSES, size=50)
    expected = sklearn_metrics.top_k_accuracy_score(labels, probabilities, k=k, labels=range(CLASSES))
    assert topk_correct(probabilities, labels, k).mean() == expected


@pytest.mark.parametrize(("k", "expected"), [(1, [True, False, False]), (2, [True, True, False])])
def test_ties_are_ordered_by_class_index(k, expected):
    probabilities = np.full((3, 3), 1 / 3)
    assert topk_correct(probabilities, np.array([0, 1, 2]), k).tolist() == expected
