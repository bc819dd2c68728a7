"""Rejection of texts out of scope."""

import numpy as np
import pytest

from mixlab.evaluation.out_of_scope import best_threshold, evaluate_out_of_scope

CONFIDENCES = np.array([0.9, 0.8, 0.7, 0.3])
CORRECT = np.array([True, True, False, True])


def accuracy(threshold: float, outside: np.ndarray) -> int:
    """The number of correct answers, counted one by one."""
    inside = sum(correct and confidence >= threshold for confidence, correct in zip(CONFIDENCES, CORRECT, strict=True))
    return inside + sum(confidence < threshold for confidence in outside)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_is_correct_for_more_texts(seed: int):
    outside = np.random.default_rng(seed).random(6)
    best = accuracy(best_threshold(CONFIDENCES, CORRECT, outside), outside)
    assert best == max(accuracy(threshold, outside) for threshold in np.linspace(0, 1, 1001))


def test_of_equally_good_thresholds_the_lowest_is_chosen():
    assert best_threshold(CONFIDENCES, CORRECT, np.array([0.95])) == 0.0


def test_a_rejected_text_in_scope_is_an_error():
    found = evaluate_out_of_scope(0.75, CONFIDENCES, CORRECT, np.array([0.1, 0.85]))
    assert (found.accuracy.value, found.recall.value) == (50, 50)
    assert found.auroc == pytest.approx(100 * 5 / 8)
    assert found.table().rows[2]["value"] == found.auroc
