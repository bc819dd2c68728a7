"""A finished training of a comparison, evaluated on the test images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.comparison.trainings import evaluate_training
from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.prediction.predictor import Predictor
from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import resolve
from mixlab.training.loop import train
from mixlab.training.recipes.parse import parse_training_recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_dataset("digits")


@pytest.fixture
def run(tiny_recipe: dict[str, Any], digits: Dataset, tmp_path: Path) -> Run:
    """Twenty steps on the digits, including the validation images, in bf16."""
    fields = tiny_recipe | {"data": "digits", "validation": "merged", "steps": 20, "batch": 64}
    recipe = parse_training_recipe(fields, "tiny")
    plan = Plan("cpu", ComputeMode("bf16"), 64)
    return train(resolve(recipe, digits, CPU), plan, tmp_path / "run", quiet=True)


def test_validation_images_are_added_to_the_training_images(shades: Dataset):
    splits = shades.merge_validation().splits
    assert list(splits) == ["train", "test"]
    assert splits["train"].names == shades.splits["train"].names + shades.splits["validation"].names
    assert splits["test"] is shades.splits["test"]


def test_a_dataset_without_validation_is_unchanged(shades: Dataset):
    splits = {name: shades.splits[name] for name in ("train", "test")}
    assert replace(shades, splits=splits).merge_validation().splits == splits


def test_a_training_is_evaluated_on_every_test_image(run, digits):
    trained = evaluate_training(run, digits, CPU)
    assert trained.folder == run.path
    assert np.array_equal(trained.evaluation.labels, digits.splits["test"].labels)
    assert trained.scores.shape == (510,)
    assert trained.mean_score == 100 * trained.scores.mean() > 15
    assert trained.images == 20 * 64
    assert [epoch["step"] for epoch in trained.epochs] == [20]
    assert trained.training_seconds > 0 and trained.peak_bytes > 2**20


def test_a_run_from_the_store_has_the_same_results(run, digits):
    first, again = (evaluate_training(one, digits, CPU) for one in (run, Run(run.path)))
    assert np.array_equal(again.evaluation.nll, first.evaluation.nll)
    assert (again.training_seconds, again.epochs) == (first.training_seconds, first.epochs)


def test_a_run_is_evaluated_in_fp32_for_any_training_precision(run, digits):
    trained, predictor = evaluate_training(run, digits, CPU), Predictor(run.path)
    for place in (0, 100, 509):
        expected = predictor(digits.splits["test"].image(place)).probabilities
        assert trained.evaluation.confidences[place] == pytest.approx(expected.max(), abs=1e-6)
        of_label = expected[trained.evaluation.labels[place]]
        assert np.exp(-trained.evaluation.nll[place]) == pytest.approx(of_label, abs=1e-6)
