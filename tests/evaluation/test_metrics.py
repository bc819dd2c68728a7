"""Metrics beside scikit-learn's, on random answers in which classes are missing."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from mixlab.evaluation.metrics import balanced_accuracy, confusion_matrix, f1, macro_f1, recall, topk_correct

CLASSES = 6

Answers = tuple[np.ndarray, np.ndarray]

sklearn_metrics: Any = metrics  # its annotations know no None for an average


@pytest.fixture(params=range(5))
def answers(request: pytest.FixtureRequest) -> Answers:
    """Labels without class 2, predictions without classes 2 and 4; about half of them right."""
    random = np.random.default_rng(request.param)
    labels = random.choice([0, 1, 3, 4, 5], size=60)
    guesses = random.choice([0, 1, 3, 5], size=60)
    return labels, np.where((random.random(60) < 0.5) & (labels != 4), labels, guesses)


def test_the_confusion_matrix_has_true_classes_in_its_rows(answers: Answers):
    expected = sklearn_metrics.confusion_matrix(*answers, labels=range(CLASSES))
    assert (confusion_matrix(*answers, CLASSES) == expected).all()


def test_recall_is_scikit_learn_s_and_no_number_for_a_class_without_images(answers: Answers):
    expected = sklearn_metrics.recall_score(*answers, labels=range(CLASSES), average=None, zero_division=np.nan)
    np.testing.assert_allclose(recall(confusion_matrix(*answers, CLASSES)), expected)


def test_f1_is_scikit_learn_s_and_no_number_for_a_class_that_never_occurs(answers: Answers):
    expected = sklearn_metrics.f1_score(*answers, labels=range(CLASSES), average=None, zero_division=np.nan)
    np.testing.assert_allclose(f1(confusion_matrix(*answers, CLASSES)), expected)


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_have_images(answers: Answers):
    """scikit-learn's warns where an answer is of a class without images; here none is."""
    expected = sklearn_metrics.balanced_accuracy_score(*answers)
    assert balanced_accuracy(confusion_matrix(*answers, CLASSES)) == pytest.approx(expected)


def test_macro_f1_is_the_mean_over_the_classes_that_occur(answers: Answers):
    expected = sklearn_metrics.f1_score(*answers, average="macro")
    assert macro_f1(confusion_matrix(*answers, CLASSES)) == pytest.approx(expected)


@pytest.mark.parametrize("among", [1, 2, 5])
def test_hits_are_scikit_learn_s_where_no_two_classes_are_equally_probable(among):
    random = np.random.default_rng(0)
    probabilities, labels = random.dirichlet(np.ones(CLASSES), size=50), random.integers(CLASSES, size=50)
    expected = sklearn_metrics.top_k_accuracy_score(labels, probabilities, k=among, labels=range(CLASSES))
    assert topk_correct(probabilities, labels, among).mean() == expected


@pytest.mark.parametrize(("among", "expected"), [(1, [True, False, False]), (2, [True, True, False])])
def test_of_equally_probable_classes_the_first_counts_as_ahead(among, expected):
    probabilities = np.full((3, 3), 1 / 3)
    assert topk_correct(probabilities, np.array([0, 1, 2]), among).tolist() == expected
