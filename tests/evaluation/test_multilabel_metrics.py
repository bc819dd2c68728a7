"""Metrics of an evaluation with several labels per image, with bootstrap intervals."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from mixlab.evaluation import multilabel_metrics
from mixlab.evaluation.multilabel_metrics import MultilabelScores

RNG = np.random.default_rng(0)
TRUTH = RNG.random((150, 3)) < [0.6, 0.3, 0.1]
PROBABILITIES = (RNG.random((150, 3)) + TRUTH / 2) / 1.5
THRESHOLDS = np.array([0.5, 0.6, 0.7])
SCORES = MultilabelScores(("a", "b", "c"), PROBABILITIES, TRUTH, THRESHOLDS)


def test_the_values_are_those_of_scikit_learn():
    predicted = PROBABILITIES >= THRESHOLDS
    expected = {
        "mAP": average_precision_score(TRUTH, PROBABILITIES),
        "micro_f1": f1_score(TRUTH, predicted, average="micro"),
        "macro_f1": f1_score(TRUTH, predicted, average="macro"),
    }
    for key, estimate in SCORES.summary.items():
        assert estimate.value == pytest.approx(100 * expected[key])
        assert estimate.n == 150


def test_the_intervals_are_percentiles_of_resampled_images():
    rng = np.random.default_rng(1)
    drawn = [rng.integers(150, size=150) for _ in range(1000)]
    values = [100 * average_precision_score(TRUTH[rows], PROBABILITIES[rows]) for rows in drawn]
    found = SCORES.summary["mAP"]
    assert found.low is not None and found.high is not None
    np.testing.assert_allclose([found.low, found.high], np.quantile(values, [0.025, 0.975]), atol=1.0)


def test_blocks_of_resamples_have_the_same_interval_up_to_chance(monkeypatch):
    monkeypatch.setattr(multilabel_metrics, "_BLOCK", 150 * 64)
    found = MultilabelScores(("a", "b", "c"), PROBABILITIES, TRUTH, THRESHOLDS).summary["micro_f1"]
    expected = SCORES.summary["micro_f1"]
    assert found.value == expected.value
    assert found.low == pytest.approx(expected.low, abs=1.0)


def test_a_label_that_no_image_has_is_undefined_and_left_out_of_the_map():
    truth = TRUTH.copy()
    truth[:, 2] = False
    scores = MultilabelScores(("a", "b", "c"), PROBABILITIES, truth, THRESHOLDS)
    of_label = scores.by_label()[2]
    assert (of_label.images, of_label.average_precision, of_label.recall) == (0, None, None)
    expected = average_precision_score(truth[:, :2], PROBABILITIES[:, :2])
    assert scores.summary["mAP"].value == pytest.approx(100 * expected)


def test_a_label_has_its_counts_precision_and_recall():
    of_label = SCORES.by_label()[1]
    predicted = PROBABILITIES[:, 1] >= 0.6
    assert (of_label.images, of_label.predicted, of_label.threshold) == (TRUTH[:, 1].sum(), predicted.sum(), 0.6)
    correct = (predicted & TRUTH[:, 1]).sum()
    assert of_label.precision == pytest.approx(100 * correct / predicted.sum())
    assert of_label.recall == pytest.approx(100 * correct / TRUTH[:, 1].sum())
