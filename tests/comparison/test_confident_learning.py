"""Confident learning, by hand and against cleanlab.

The inputs and expected values of golden/confident_learning.npz are from cleanlab 2.9.0 (Apache-2.0):
count.compute_confident_joint without and with calibrate, filter.find_label_issues with filter_by, and
rank.get_self_confidence_for_each_label and get_normalized_margin_for_each_label. The labels are random with 10 to 25 %
errors, the probabilities a softmax of normal logits with a larger one for the true class.
"""

from pathlib import Path

import numpy as np
import pytest

from mixlab.comparison.confident_learning import (
    confident_joint,
    estimated_counts,
    normalized_margin,
    prune_by_class,
    prune_by_noise_rate,
    self_confidence,
    wrong_label_share,
)
from mixlab.stats.estimate import Estimate

GOLDEN = Path(__file__).parents[1] / "golden" / "confident_learning.npz"
CASES = ("two_classes", "three_classes", "six_classes")

LABELS = np.array([0, 0, 0, 1, 1])
PROBABILITIES = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]])  # thresholds 0.6 and 0.8


@pytest.fixture(params=CASES)
def golden(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return {
            key.removeprefix(f"{request.param}/"): arrays[key] for key in arrays.files if key.startswith(request.param)
        }


@pytest.mark.parametrize(
    "function",
    [confident_joint, estimated_counts, prune_by_class, prune_by_noise_rate, self_confidence],
    ids=lambda function: function.__name__,
)
def test_the_results_equal_those_of_cleanlab(golden, function):
    result = function(golden["labels"], golden["probabilities"])
    np.testing.assert_array_equal(result, golden[function.__name__])


def test_the_margin_is_that_of_cleanlab_on_a_scale_from_minus_one_to_one(golden):
    margin = normalized_margin(golden["labels"], golden["probabilities"])
    np.testing.assert_allclose(margin, 2 * golden["normalized_margin"] - 1, rtol=0, atol=1e-12)


def test_an_image_is_counted_for_the_class_whose_threshold_it_reaches():
    np.testing.assert_array_equal(confident_joint(LABELS, PROBABILITIES), [[2, 1], [0, 1]])


def test_an_image_below_all_thresholds_is_not_counted():
    assert confident_joint(LABELS, PROBABILITIES).sum() == len(LABELS) - 1


def test_an_image_is_counted_for_the_most_probable_of_the_classes_whose_thresholds_it_reaches():
    """The last image reaches the thresholds of classes 1 and 2 (0.3), but not that of class 0 (0.73), its most
    probable class. cleanlab counts it for class 0, the paper (equation 1) for class 1."""
    labels = np.array([0, 0, 1, 1, 2, 2, 0])
    confident, other = [[0.9, 0.05, 0.05], [0.92, 0.04, 0.04]], [[0.6, 0.3, 0.1]] * 2 + [[0.6, 0.1, 0.3]] * 2
    probabilities = np.array([*confident, *other, [0.38, 0.32, 0.30]])
    np.testing.assert_array_equal(confident_joint(labels, probabilities), [[2, 1, 0], [0, 2, 0], [0, 0, 2]])


def test_the_rows_of_the_counts_are_the_numbers_of_the_given_labels():
    np.testing.assert_array_equal(estimated_counts(LABELS, PROBABILITIES), [[2, 1], [0, 2]])


def test_a_class_whose_images_are_all_equal_reaches_its_own_threshold():
    labels, probabilities = np.repeat([0, 1], 7), np.repeat([[0.7, 0.3], [0.1, 0.9]], 7, axis=0)
    np.testing.assert_array_equal(confident_joint(labels, probabilities), [[7, 0], [0, 7]])


def test_a_class_without_a_confident_image_of_its_own_keeps_a_correct_label():
    labels = np.array([0, 0, 1])
    probabilities = np.array([[0.96, 0.04], [0.96, 0.04], [0.97, 0.03]])
    np.testing.assert_array_equal(confident_joint(labels, probabilities), [[2, 0], [1, 1]])


@pytest.mark.parametrize("prune", [prune_by_class, prune_by_noise_rate])
def test_the_wrong_label_of_the_example_is_suspected(prune):
    np.testing.assert_array_equal(prune(LABELS, PROBABILITIES), [False, False, True, False, False])


@pytest.mark.parametrize("prune", [prune_by_class, prune_by_noise_rate])
def test_a_label_that_is_the_most_probable_class_is_never_suspected(golden, prune):
    labels, probabilities = golden["labels"], golden["probabilities"]
    selected = prune(labels, probabilities)
    assert selected.any() and not (selected & (probabilities.argmax(axis=1) == labels)).any()


def test_the_share_of_wrong_labels_is_the_part_off_the_diagonal():
    share = wrong_label_share(LABELS, PROBABILITIES, np.arange(5))
    assert share.value == pytest.approx(20.0) and (share.n, share.unit) == (5, "%")


def test_without_any_suspicion_there_is_no_interval():
    labels, probabilities = np.repeat([0, 1], 7), np.repeat([[0.7, 0.3], [0.1, 0.9]], 7, axis=0)
    share = wrong_label_share(labels, probabilities, np.arange(14))
    assert (share.value, share.low, share.high) == (0.0, None, None)


def clear_images(images: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of four classes, a `share` of them wrong, and a model that is nearly certain of the true class."""
    rng = np.random.default_rng(seed)
    true = np.arange(images) % 4
    wrong = rng.random(images) < share
    labels = np.where(wrong, (true + rng.integers(1, 4, images)) % 4, true)
    return labels, 0.96 * np.eye(4)[true] + 0.01


def bounds(share: Estimate) -> tuple[float, float]:
    assert share.low is not None and share.high is not None
    return share.low, share.high


def test_copies_of_an_image_do_not_make_the_interval_narrower():
    labels, probabilities = clear_images(200, 0.1, seed=0)
    low, high = bounds(wrong_label_share(labels, probabilities, np.arange(200)))
    repeated = np.repeat(labels, 4), np.repeat(probabilities, 4, axis=0)
    grouped = wrong_label_share(*repeated, np.repeat(np.arange(200), 4))
    assert bounds(grouped) == (low, high)
    separate = bounds(wrong_label_share(*repeated, np.arange(800)))
    assert separate[0] > low and separate[1] < high


@pytest.mark.long
def test_the_interval_contains_the_true_rate_if_the_model_knows_the_classes():
    covered = []
    for seed in range(400):
        labels, probabilities = clear_images(400, 0.1, seed)
        low, high = bounds(wrong_label_share(labels, probabilities, np.arange(400), resamples=200, seed=seed))
        covered.append(low <= 10 <= high)
    assert 93 <= 100 * np.mean(covered) <= 97
