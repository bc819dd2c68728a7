"""One training after another, each judged on the same test images."""

from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.comparison import trainings
from mixlab.comparison.trainings import processes
from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.measure.memory import peak_bytes
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Recipe

PLAN = Plan("cpu", ComputeMode(), 64)


@pytest.fixture
def recipe(tiny_recipe: dict[str, Any]) -> Recipe:
    """Twenty steps on the digits."""
    return parse_training_recipe(tiny_recipe | {"data": "digits", "steps": 20, "batch": 64}, "tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_validation_images_join_those_to_train_on(shades: Dataset):
    splits = shades.merge_validation().splits
    assert list(splits) == ["train", "test"]
    assert splits["train"].names == shades.splits["train"].names + shades.splits["validation"].names
    assert splits["test"] is shades.splits["test"]


def test_a_set_without_validation_stays_as_it_is(shades: Dataset):
    splits = {name: shades.splits[name] for name in ("train", "test")}
    assert replace(shades, splits=splits).merge_validation().splits == splits


def test_a_training_is_evaluated_on_every_test_image(recipe, folder):
    trained = trainings._train_and_judge(recipe, PLAN, folder, quiet=True)
    assert trained.labels.shape == trained.correct.shape == (510,)
    assert trained.probabilities.shape == (510, 10)
    assert trained.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert trained.top1 == 100 * (trained.probabilities.argmax(axis=1) == trained.labels).mean() > 15
    assert trained.images == 20 * 64
    assert [epoch["step"] for epoch in trained.epochs] == [20]
    assert trained.training_seconds > 0 and trained.peak_bytes > 2**20


def test_a_finished_training_is_found_and_not_repeated(recipe, folder, monkeypatch):
    first = trainings._train_and_judge(recipe, PLAN, folder, quiet=True)
    monkeypatch.delattr(trainings, "train")
    again = trainings._train_and_judge(recipe, PLAN, folder, quiet=True)
    assert np.array_equal(again.probabilities, first.probabilities)
    assert (again.training_seconds, again.epochs) == (first.training_seconds, first.epochs)


class NoProcesses:
    """A pool whose process is killed by the system."""

    def __init__(self, **options: Any):
        pass

    def __enter__(self) -> "NoProcesses":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, *call: Any, **options: Any) -> None:
        raise BrokenProcessPool


def test_a_training_that_the_system_kills_is_one_sentence(recipe, folder, monkeypatch):
    monkeypatch.setattr(trainings, "ProcessPoolExecutor", NoProcesses)
    with processes() as train_apart, pytest.raises(UserError, match=r"mixer_nano with seed 0 was killed .* is kept"):
        train_apart(recipe, PLAN, folder, quiet=True)


@pytest.mark.long
def test_a_training_apart_gives_the_same_weights_in_memory_of_its_own(recipe, tmp_path):
    held = np.ones(2**27)  # a gibibyte, which the trainings must not be charged with
    with processes() as train_apart:
        apart = [train_apart(recipe, PLAN, tmp_path / f"{turn}", quiet=True) for turn in range(2)]
    here = trainings._train_and_judge(recipe, PLAN, tmp_path / "here", quiet=True)
    assert all(np.array_equal(one.probabilities, here.probabilities) for one in apart)
    assert here.peak_bytes >= peak_bytes(torch.device("cpu")) - 2**20 > held.nbytes
    assert all(one.peak_bytes < here.peak_bytes - 2**29 for one in apart)


@pytest.mark.long
def test_a_user_s_mistake_in_a_process_of_its_own_is_the_same_sentence(recipe, folder):
    recipe = recipe.model_copy(update={"data": "folder:/nowhere"})
    with processes() as train_apart, pytest.raises(UserError, match="folder:/nowhere does not exist"):
        train_apart(recipe, PLAN, folder, quiet=True)
    assert not folder.exists()
