"""Averages over corruptions."""

import numpy as np
import pytest

from mixlab.evaluation.corruptions.averages import (
    ALEXNET_ERRORS,
    corruption_accuracy,
    mce,
    mean_corruption_error,
    relative_to_alexnet,
)
from mixlab.evaluation.corruptions.corrupt import KINDS

# Corruption errors of ResNet-50 relative to AlexNet, and its accuracies, as a public log prints both.
RESNET_50 = {
    "brightness": (68.02, 56.64),
    "contrast": (39.06, 71.43),
    "defocus_blur": (38.75, 74.71),
    "elastic_transform": (45.25, 84.75),
    "fog": (45.83, 66.11),
    "frost": (38.14, 74.84),
    "gaussian_noise": (29.29, 79.77),
    "glass_blur": (26.79, 88.61),
    "impulse_noise": (23.81, 82.58),
}

# Errors of AlexNet at severities 1 to 5, for the other kinds, as another public repository lists them.
ALEXNET_BY_SEVERITY = {
    "shot_noise": (71.224, 85.108, 93.574, 98.182, 99.146),
    "motion_blur": (58.43, 70.048, 82.108, 89.75, 92.638),
    "zoom_blur": (70.008, 76.992, 80.784, 84.198, 87.198),
    "snow": (71.726, 88.392, 86.468, 91.87, 94.952),
    "pixelate": (52.218, 54.62, 73.728, 87.092, 91.262),
    "jpeg_compression": (51.002, 54.718, 57.294, 65.458, 74.778),
}


def test_the_mean_is_over_severities_and_then_over_kinds():
    assert mean_corruption_error({"fog": [10.0, 20.0, 30.0, 40.0, 50.0], "snow": [50.0] * 5}) == 40


def test_alexnet_has_an_mce_of_100():
    assert mce(
        {kind: [error - 2, error - 1, error, error + 1, error + 2] for kind, error in ALEXNET_ERRORS.items()}
    ) == (pytest.approx(100))
    assert tuple(ALEXNET_ERRORS) == KINDS


def test_mce_divides_the_error_of_each_kind_by_that_of_alexnet():
    errors = {kind: [0.5 * error] * 5 for kind, error in ALEXNET_ERRORS.items()}
    errors["fog"] = [0.0] * 5
    assert mce(errors) == pytest.approx(50 * 14 / 15)


@pytest.mark.parametrize("kind", RESNET_50)
def test_the_corruption_error_of_resnet_50_is_that_of_a_published_log(kind):
    accuracy, corruption_error = RESNET_50[kind]
    errors = relative_to_alexnet({kind: [100 - accuracy] * 5})
    assert errors[kind] == pytest.approx(corruption_error, abs=0.02)  # both are rounded to two decimals


@pytest.mark.parametrize("kind", ALEXNET_BY_SEVERITY)
def test_the_errors_of_alexnet_are_means_over_the_severities(kind):
    assert ALEXNET_ERRORS[kind] == pytest.approx(np.mean(ALEXNET_BY_SEVERITY[kind]), abs=1e-9)
    assert {*ALEXNET_BY_SEVERITY, *RESNET_50} == set(KINDS)


def test_the_interval_of_the_mean_accuracy_is_over_images():
    correct = np.zeros((75, 40), dtype=bool)
    correct[:, :30] = True  # an image is correct in all corruptions, or in none
    accuracy = corruption_accuracy(correct)
    assert (accuracy.value, accuracy.n) == (75, 40)
    assert accuracy.low is not None and accuracy.high is not None
    assert accuracy.high - accuracy.low == pytest.approx(2 * 1.96 * 100 * (0.75 * 0.25 / 40) ** 0.5, rel=0.1)
