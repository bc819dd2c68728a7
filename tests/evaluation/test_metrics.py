"""The metrics equal those of scikit-learn, on random predictions with missing classes; their intervals cover."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn

from mixlab.evaluation import metrics
from mixlab.evaluation.evaluation import Evaluation
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval, proportion_interval

CLASSES = 6
MACRO = [metrics.balanced_accuracy, metrics.macro_f1]

sklearn_metrics: Any = sklearn  # its annotations do not accept average=None


@pytest.fixture(params=range(5))
def evaluation(request: pytest.FixtureRequest, of_predictions) -> Evaluation:
    """Labels without class 2, predictions without classes 2 and 4; about half of the predictions are correct."""
    random = np.random.default_rng(request.param)
    labels = random.choice([0, 1, 3, 4, 5], size=60)
    random_predictions = random.choice([0, 1, 3, 5], size=60)
    predictions = np.where((random.random(60) < 0.5) & (labels != 4), labels, random_predictions)
    return of_predictions(labels, predictions, CLASSES)


def test_accuracies_are_those_of_scikit_learn(evaluation):
    labels, predictions = evaluation.labels, evaluation.predictions
    assert metrics.top1(evaluation).value == pytest.approx(100 * sklearn.accuracy_score(labels, predictions))
    balanced = 100 * sklearn.balanced_accuracy_score(labels, predictions)
    assert metrics.balanced_accuracy(evaluation).value == pytest.approx(balanced)
    f1 = 100 * sklearn.f1_score(labels, predictions, average="macro")
    assert metrics.macro_f1(evaluation).value == pytest.approx(f1)


def test_each_class_has_the_metrics_of_scikit_learn(evaluation):
    expected: Any = sklearn_metrics.precision_recall_fscore_support(
        evaluation.labels, evaluation.predictions, labels=range(CLASSES), zero_division=np.nan
    )
    for index, of_class in enumerate(metrics.by_class(evaluation)):
        values = [each and each.value for each in (of_class.precision, of_class.recall, of_class.f1)]
        for value, reference in zip(values, expected[:3], strict=True):
            if value is not None:
                assert value == pytest.approx(100 * reference[index])
        assert of_class.images == expected[3][index]


def test_a_metric_of_a_class_that_is_not_defined_is_none(of_predictions):
    labels, predictions = np.array([0, 1, 2]), np.array([0, 1, 1])
    _, _, never_predicted, without_images = metrics.by_class(of_predictions(labels, predictions, 4))
    assert never_predicted.precision is None
    assert [each and each.value for each in (never_predicted.recall, never_predicted.f1)] == [0.0, 0.0]
    assert (without_images.precision, without_images.recall, without_images.f1) == (None, None, None)


def test_topk_counts_true_classes_among_the_k_most_probable(draw_logits, make_evaluation):
    logits, labels = draw_logits(300, 8, temperature=1, spread=1, seed=1)
    evaluation = make_evaluation(300, 8, spread=1, seed=1)
    for k in (1, 2, 5):
        expected = 100 * sklearn.top_k_accuracy_score(labels, logits, k=k)
        assert metrics.topk(evaluation, k).value == pytest.approx(expected)


def test_top5_is_none_for_five_classes(make_evaluation):
    assert metrics.top5(make_evaluation(10, 5)) is None
    assert metrics.top5(make_evaluation(10, 6)) is not None


def test_the_log_likelihood_and_the_brier_score_are_those_of_scikit_learn(draw_logits, make_evaluation):
    logits, labels = draw_logits(300, 8, temperature=1, spread=1, seed=1)
    probabilities = logits.double().softmax(dim=1).numpy()
    evaluation = make_evaluation(300, 8, spread=1, seed=1)
    assert metrics.nll(evaluation).value == pytest.approx(sklearn.log_loss(labels, probabilities), rel=1e-5)
    one_hot = np.eye(8)[labels]
    assert metrics.brier(evaluation).value == pytest.approx(((probabilities - one_hot) ** 2).sum(axis=1).mean())


def test_every_metric_has_one_line_and_a_sentence(make_evaluation):
    values = metrics.summary(make_evaluation(50, 10))
    assert [metric.key for metric in values] == [metric.key for metric in metrics.METRICS]
    assert len({metric.title for metric in values}) == len(values)
    assert all(metric.sentence("image").endswith(".") for metric in values)
    assert {estimate.unit for metric, estimate in values.items() if metric.is_share} == {"%"}


def test_without_errors_the_interval_of_the_macro_f1_of_equal_classes_is_that_of_the_accuracy(of_predictions):
    labels = np.arange(60) % 3
    assert metrics.macro_f1(of_predictions(labels, labels, 3)) == proportion_interval(60, 60)


@pytest.mark.parametrize("metric", MACRO)
def test_a_macro_interval_contains_its_value_and_stays_within_0_and_100(metric, evaluation):
    estimate = metric(evaluation)
    assert 0 <= estimate.low < estimate.value < estimate.high <= 100
    assert (estimate.n, estimate.unit) == (60, "%")


def test_the_balanced_accuracy_of_unequal_classes_is_as_uncertain_as_its_smallest_class(of_predictions):
    labels = np.array([0] * 990 + [1] * 10)
    predictions = np.where(np.arange(1000) % 10 == 0, 1 - labels, labels)
    estimate = metrics.balanced_accuracy(of_predictions(labels, predictions, 2))
    half = 1.96 * 0.5 * (0.09 / 10 + 0.09 / 990) ** 0.5
    assert estimate.low is not None and estimate.high is not None
    assert estimate.high - estimate.low == pytest.approx(200 * half, rel=0.25)


@pytest.mark.long
@pytest.mark.parametrize(("metric", "per_class", "least"), [(MACRO[0], 50, 93), (MACRO[1], 50, 93), (MACRO[0], 10, 92)])
def test_a_macro_interval_covers_the_true_value(metric, per_class, least, of_predictions):
    """The recalls of 20 classes are between 50 and 98 %, and an error is one of two similar classes."""
    random, classes = np.random.default_rng(0), 20
    recalls = np.linspace(0.5, 0.98, classes)

    def sample(images: int) -> Evaluation:
        labels = np.repeat(np.arange(classes), images)
        wrong = (labels + random.integers(1, 3, len(labels))) % classes
        predictions = np.where(random.random(len(labels)) < recalls[labels], labels, wrong)
        return of_predictions(labels, predictions, classes)

    truth = metric(sample(200_000)).value
    estimates = [metric(sample(per_class)) for _ in range(2_000)]
    assert least <= 100 * np.mean([covers(estimate, truth) for estimate in estimates]) <= 97


def covers(estimate: Estimate, truth: float) -> bool:
    assert estimate.low is not None and estimate.high is not None
    return estimate.low <= truth <= estimate.high


def test_the_interval_of_the_mean_score_is_that_of_a_mean(make_evaluation):
    evaluation = make_evaluation(100, 10)
    assert metrics.nll(evaluation) == mean_interval(evaluation.nll, "nats", least=0)
