"""Calibration: the errors equal their definition, a calibrated model shows what it should, a temperature is found."""

import numpy as np
import pytest
import torch

from mixlab.evaluation.calibration import (
    TemperatureFit,
    calibrated_ece,
    ece_equal_mass,
    ece_equal_width,
    reliability,
)
from mixlab.evaluation.evaluation import score
from mixlab.evaluation.metrics import nll
from mixlab.evaluation.probes.ridge import fit_temperature


def written_out_ece(confidences, correct, bins) -> float:
    total = 0.0
    for one in np.unique(bins):
        inside = bins == one
        total += inside.mean() * abs(correct[inside].mean() - confidences[inside].mean())
    return 100 * total


def test_the_ece_with_bins_of_equal_width_is_its_definition(make_evaluation):
    evaluation = make_evaluation(400, 10, temperature=2)
    bins = np.digitize(evaluation.confidences, np.linspace(0, 1, 16)[1:-1])
    expected = written_out_ece(evaluation.confidences.astype(float), evaluation.correct, bins)
    assert ece_equal_width(evaluation).value == pytest.approx(expected, abs=1e-4)


def test_the_ece_with_bins_of_equal_mass_is_its_definition(make_evaluation):
    evaluation = make_evaluation(450, 10, temperature=2)  # 30 images in each bin
    bins = np.argsort(np.argsort(evaluation.confidences, kind="stable")) // 30
    expected = written_out_ece(evaluation.confidences.astype(float), evaluation.correct, bins)
    assert ece_equal_mass(evaluation).value == pytest.approx(expected, abs=1e-4)


def test_a_confidence_of_100_per_cent_is_in_the_last_bin(of_predictions):
    evaluation = of_predictions(np.zeros(20, int), np.zeros(20, int), 1)
    assert evaluation.confidences.max() == 1 and ece_equal_width(evaluation).value == 0


@pytest.mark.parametrize("images", [1, 2, 14])
def test_fewer_images_than_bins_have_a_bin_each(images, make_evaluation):
    assert len(reliability(make_evaluation(images, 3))) == images


def test_the_ece_of_a_calibrated_model_lies_where_chance_puts_it(make_evaluation):
    within = 0
    for seed in range(60):
        evaluation = make_evaluation(300, 10, seed=seed)  # its labels are drawn from its probabilities
        chance = calibrated_ece(evaluation)
        assert chance.low is not None and chance.high is not None
        within += chance.low <= ece_equal_mass(evaluation).value <= chance.high
    assert within >= 51  # 57 expected; fewer with a probability of 1 in 1,000


def test_the_ece_of_an_overconfident_model_is_above_chance(make_evaluation):
    evaluation = make_evaluation(1_000, 10, temperature=3)
    chance = calibrated_ece(evaluation).high
    assert chance is not None and ece_equal_mass(evaluation).value > 3 * chance


def test_the_bins_of_the_reliability_diagram_have_equally_many_images(make_evaluation):
    bins = reliability(make_evaluation(300, 10))
    assert [each.accuracy.n for each in bins] == [20] * 15
    assert [each.confidence for each in bins] == sorted(each.confidence for each in bins)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_is_that_of_the_fit_on_all_logits(temperature, draw_logits):
    logits, labels = draw_logits(500, 12, temperature=temperature, spread=2, seed=3)
    fit = TemperatureFit()
    for batch in torch.arange(500).split(64):
        fit.add(logits[batch], labels[batch])
    assert fit.temperature == pytest.approx(fit_temperature(logits.double().numpy(), labels.numpy()), rel=2e-3)


def test_the_temperature_of_logits_without_errors_is_finite():
    logits = torch.eye(3).repeat(20, 1)
    fit = TemperatureFit()
    fit.add(logits, torch.arange(60) % 3)
    assert 1 / 60 < fit.temperature < 1


def test_the_temperature_lowers_the_log_likelihood_and_changes_no_prediction(draw_logits, make_evaluation):
    logits, labels = draw_logits(500, 12, temperature=4, spread=2, seed=3)
    evaluation = make_evaluation(500, 12, temperature=4, seed=3)
    scaled = score(logits / 4, labels, evaluation.classes)
    assert nll(scaled).value < nll(evaluation).value
    np.testing.assert_array_equal(scaled.ranks, evaluation.ranks)
