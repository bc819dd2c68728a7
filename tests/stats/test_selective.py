"""Answers above a confidence: the guarantee holds in simulations, and the curve equals its definition."""

import numpy as np
import pytest
from scipy.stats import beta

from mixlab.stats.selective import guaranteed_threshold, images_needed, risk_coverage


def calibrated(images: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and answers that are correct with this probability."""
    confidences = rng.beta(5, 1, images)
    return confidences, rng.random(images) < confidences


def test_the_bound_is_that_of_clopper_and_pearson_at_the_level_of_all_tested_thresholds():
    confidences, correct = calibrated(1_000, np.random.default_rng(0))
    found = guaranteed_threshold(confidences, correct, 90)
    assert found is not None
    answered = confidences >= found.confidence
    right, level = correct[answered].sum(), 0.05 / 10  # 10 = log2(1,000), rounded up
    assert found.guaranteed == pytest.approx(100 * beta.ppf(level, right, answered.sum() - right + 1))
    assert found.guaranteed >= 90
    assert (found.coverage, found.accuracy) == (100 * answered.mean(), 100 * correct[answered].mean())


@pytest.mark.parametrize(("images", "wanted"), [(500, 90), (2_000, 95)])
def test_the_accuracy_on_new_images_is_below_the_wanted_one_in_at_most_5_per_cent_of_samples(images, wanted):
    rng = np.random.default_rng(1)
    failed = found_any = 0
    for _ in range(1_000):
        found = guaranteed_threshold(*calibrated(images, rng), wanted)
        if found is not None:
            found_any += 1
            t = found.confidence
            accuracy = 5 / 6 * (1 - t**6) / (1 - t**5)  # the mean of Beta(5, 1) above t; its density is 5 x^4
            failed += 100 * accuracy < wanted
    assert found_any > 750  # without a threshold, nothing is claimed
    assert failed <= 50


def test_a_higher_accuracy_leaves_fewer_answers():
    confidences, correct = calibrated(5_000, np.random.default_rng(2))
    low, high = (guaranteed_threshold(confidences, correct, wanted) for wanted in (85, 95))
    assert low is not None and high is not None
    assert low.coverage > high.coverage and low.confidence < high.confidence


def test_equal_confidences_are_answered_together():
    confidences = np.repeat([0.9, 0.5], 500)
    correct = np.repeat([True, False], 500)
    found = guaranteed_threshold(confidences, correct, 95)
    assert found is not None and (found.confidence, found.coverage, found.accuracy) == (0.9, 50.0, 100.0)


def test_all_answers_are_given_if_all_are_correct():
    found = guaranteed_threshold(np.linspace(0.1, 1, 2_000), np.ones(2_000, bool), 99)
    assert found is not None and found.coverage == pytest.approx(100, abs=0.1)


def test_too_few_images_guarantee_nothing():
    needed = images_needed(99, 1_000)
    assert needed == 528  # log(0.05 / 10) / log(0.99)
    assert guaranteed_threshold(np.linspace(0, 1, 300), np.ones(300, bool), 99) is None


def test_the_curve_starts_at_the_most_confident_image_and_ends_at_the_accuracy():
    coverage, accuracy = risk_coverage(np.array([0.2, 0.9, 0.5, 0.7]), np.array([False, True, True, False]))
    assert coverage.tolist() == [25, 50, 75, 100]
    assert accuracy.tolist() == pytest.approx([100, 50, 200 / 3, 50])
