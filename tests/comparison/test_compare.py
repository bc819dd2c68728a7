"""Compare from end to end on forty images, each training in this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixlab.comparison import compare as compare_module
from mixlab.comparison import trainings
from mixlab.comparison.compare import compare
from mixlab.comparison.comparison import Comparison
from mixlab.comparison.settings import ComparisonSettings
from mixlab.comparison.trainings import Trained
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.measure.macs import count_parameters
from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.stats.intervals import median_interval
from mixlab.training.planning import autotune
from mixlab.zoo.architecture import create_model, macs_of

PLAN = Plan("cpu", ComputeMode(), 4)
SECONDS_A_STEP = {"mixer_nano": 0.01, "convmixer_nano": 0.02}
MODELS = list(SECONDS_A_STEP)
LARGE = "convmixer_256_8"

Compared = Callable[..., Comparison]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def compared(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> Compared:
    """Compares with invented trials and speeds, and with processes that are this one."""
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "store"))
    monkeypatch.setattr(
        autotune, "select_plan", lambda job, log, processes: (PLAN, SECONDS_A_STEP.get(job.recipe.model, 0.05))
    )
    monkeypatch.setattr(compare_module, "images_per_second", invented_speeds)
    monkeypatch.setattr(compare_module, "processes", this_process)

    def compared(models: list[str] = MODELS, **settings: Any) -> Comparison:
        settings = {"seeds": 2, "image_size": 8, "epochs": None if settings.keys() & {"minutes"} else 1} | settings
        return compare(
            models, open_dataset(f"folder:{pets}"), ComparisonSettings(**settings), quiet=True, log=said.append
        )

    return compared


@contextmanager
def this_process() -> Iterator[trainings.TrainApart]:
    yield trainings._train_and_judge


def invented_speeds(models: dict[str, Any], device: object) -> dict[str, Any]:
    return {name: (ComputeMode(), median_interval([100.0] * 9, "images/s")) for name in models}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are trained into, as it happens."""
    folders: list[str] = []
    train = trainings.train

    def noted(job: Any, plan: Plan, folder: Path, *, quiet: bool) -> Run:
        folders.append(folder.name)
        return train(job, plan, folder, quiet=quiet)

    monkeypatch.setattr(trainings, "train", noted)
    return folders


def recipes(comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    return {one.name: [Run(run.folder).recipe for run in one.trained] for one in comparison.model_results}


def test_every_model_is_trained_with_every_seed_in_the_order_given(compared, trained):
    comparison = compared()
    assert comparison.names == MODELS
    assert {name: [recipe["seed"] for recipe in found] for name, found in recipes(comparison).items()} == {
        name: [0, 1] for name in MODELS
    }
    assert [name.partition("-folder-")[0] for name in trained] == MODELS * 2


def test_all_are_evaluated_on_the_same_held_out_images(compared):
    comparison = compared()
    test = comparison.dataset.splits["test"]
    assert len(test) == 8
    for one in comparison.model_results:
        assert one.correct.shape == (2, 8)
        assert all(np.array_equal(run.labels, test.labels) for run in one.trained)


def test_validation_images_are_trained_on(compared):
    comparison = compared()
    assert list(comparison.dataset.splits) == ["train", "test"]
    assert all(run.images == 32 for one in comparison.model_results for run in one.trained)


def test_another_image_size_is_that_of_every_model(compared):
    comparison = compared(image_size=12, seeds=1)
    assert [one.candidate.job.config["image_size"] for one in comparison.model_results] == [12, 12]


def test_what_an_interruption_has_finished_is_found_again(compared, trained, monkeypatch, said):
    train, left = trainings.train, iter(range(3))

    def interrupted(*arguments: Any, **options: Any) -> Run:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return train(*arguments, **options)

    monkeypatch.setattr(trainings, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compared()
    assert len(trained) == 3
    monkeypatch.setattr(trainings, "train", train)
    monkeypatch.delattr(autotune, "select_plan")  # the plans are remembered as well
    comparison = compared()
    assert len(trained) == len(set(trained)) == 4
    assert [one.correct.shape for one in comparison.model_results] == [(2, 8), (2, 8)]


def test_more_seeds_train_only_those_that_are_missing(compared, trained):
    compared(seeds=1)
    compared(seeds=2)
    assert len(trained) == len(set(trained)) == 4


def test_a_changed_image_trains_anew(compared, trained, pets):
    compared(seeds=1)
    Image.new("RGB", (8, 8)).save(pets / "cat" / "00.png")
    compared(seeds=1)
    assert len(set(trained)) == 4


def test_minutes_are_shared_equally_and_pay_for_the_start_of_each_training(compared):
    comparison = compared(minutes=4 * (0.1 + compare_module._START_SECONDS) / 60)
    steps = {name: {recipe["steps"] for recipe in found} for name, found in recipes(comparison).items()}
    assert steps == {"mixer_nano": {10}, "convmixer_nano": {5}}


def test_minutes_that_pay_for_no_training_are_refused_with_how_many_would(compared, trained):
    with pytest.raises(UserError, match=r"--minutes 0\.1 is too short for 4 trainings, .*: give at least 1, or fewer"):
        compared(minutes=0.1)
    assert trained == []


def test_matching_seconds_gives_the_others_as_many_steps_as_take_so_long(compared, monkeypatch):
    rank = trainings._train_and_judge

    def of_a_second(*arguments: Any, **options: Any) -> Trained:
        return replace(rank(*arguments, **options), training_seconds=0.24)

    monkeypatch.setattr(trainings, "_train_and_judge", of_a_second)
    found = recipes(compared(match="seconds"))
    assert ["steps" in recipe for recipe in found["mixer_nano"]] == [False, False]
    assert [recipe["steps"] for recipe in found["convmixer_nano"]] == [12, 12]


@pytest.mark.parametrize("match", ["parameters", "macs"])
def test_a_matched_model_has_about_what_the_first_one_has(compared, match):
    first, other = (getattr(one.candidate, match) for one in compared(["mixer_nano", LARGE], match=match).model_results)
    assert other == pytest.approx(first, rel=0.1)
    alone = create_model(LARGE, image_size=8, classes=2)
    assert {"parameters": count_parameters, "macs": macs_of}[match](alone) > 2 * first


def test_a_model_of_a_fixed_size_is_matched_only_to_itself(compared, trained):
    with pytest.raises(UserError, match="vit_nano has a fixed size, so it can't be matched to another model"):
        compared(["mixer_nano", "vit_nano"], match="parameters")
    assert trained == []


@pytest.mark.parametrize("models", [["mixer_nano"], ["mixer_nano", "mixer_nano"], [*MODELS, "mixer_nano"]])
def test_fewer_than_two_different_models_are_refused(compared, models):
    with pytest.raises(UserError, match=rf"--models {','.join(models)} compares nothing: give two or more different"):
        compared(models)


def test_a_broken_test_image_shows_before_the_first_training(compared, trained, pets):
    comparison = compared(seeds=1)
    trained.clear()
    (pets / comparison.dataset.splits["test"].names[0]).write_bytes(b"")
    with pytest.raises(UserError, match="can't be read: it is empty"):
        compared(seeds=1)
    assert trained == []


def test_the_plans_and_every_result_are_said_as_they_come(compared, said):
    compared()
    assert "  mixer_nano: fp32, contiguous, 10 ms a step of 4 images" in said
    assert [sentence.partition(" ")[0] for sentence in said[-4:]] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert "convmixer_nano, seed 1: " in said[-1]
