"""`compare` from end to end on forty images, with all trainings in this process."""

import re
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inline import train_inline
from mixlab.comparison import compare as compare_module
from mixlab.comparison.compare import compare
from mixlab.comparison.comparison import Comparison
from mixlab.comparison.settings import ComparisonSettings
from mixlab.comparison.trainings import Trained, evaluate_training
from mixlab.data.sources import open_dataset
from mixlab.errors import Interrupted, UserError
from mixlab.measure.macs import count_parameters
from mixlab.runs.folder import Run
from mixlab.speed.plan import ComputeMode
from mixlab.stats.intervals import median_interval
from mixlab.training import runner
from mixlab.training.job import Job
from mixlab.training.planning import autotune
from mixlab.training.planning.autotune import Timings
from mixlab.training.training import Training
from mixlab.zoo.architecture import create_model, macs_of

SECONDS_PER_STEP = {"mixer_nano": 0.01, "convmixer_nano": 0.02}
MODELS = list(SECONDS_PER_STEP)
LARGE = "convmixer_256_8"

Compared = Callable[..., Comparison]


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def compared(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]) -> Compared:
    """Runs `compare` with fixed times and speeds."""
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "store"))
    monkeypatch.setattr(autotune, "time_job", fixed_times)
    monkeypatch.setattr(compare_module, "images_per_second", fixed_speeds)

    def compared(models: list[str] = MODELS, **settings: Any) -> Comparison:
        settings = {"seeds": 2, "image_size": 8, "epochs": None if settings.keys() & {"minutes"} else 1} | settings
        return compare(
            models, open_dataset(f"folder:{pets}"), ComparisonSettings(**settings), quiet=True, log=messages.append
        )

    return compared


def fixed_times(job: Job, log: object, processes: int = 1) -> Timings:
    return Timings(4, "released", {ComputeMode(): SECONDS_PER_STEP.get(job.recipe.model, 0.05)})


def fixed_speeds(models: dict[str, Any], device: object, noun: str) -> dict[str, Any]:
    return {name: (ComputeMode(), median_interval([100.0] * 9, "images/s")) for name in models}


@pytest.fixture(autouse=True)
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the folders of all trainings, in the order of their start. Trainings run in this process."""
    folders: list[str] = []

    def train_here(training: Training, *, waits: bool) -> Future[None]:
        folders.append(training.folder.name)
        return train_inline(training, waits=waits)

    monkeypatch.setattr(runner, "_start", train_here)
    return folders


def recipes(comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    return {one.name: [Run(run.folder).recipe for run in one.trained] for one in comparison.model_results}


def test_every_model_is_trained_with_every_seed_and_the_longest_trainings_first(compared, trained):
    comparison = compared()
    assert comparison.names == MODELS
    assert {name: [recipe["seed"] for recipe in found] for name, found in recipes(comparison).items()} == {
        name: [0, 1] for name in MODELS
    }
    assert [name.partition("-folder-")[0] for name in trained] == MODELS[::-1] * 2


def test_all_models_are_evaluated_on_the_same_held_out_images(compared):
    comparison = compared()
    test = comparison.dataset.splits["test"]
    assert len(test) == 8
    for one in comparison.model_results:
        assert one.scores.shape == (2, 8)
        assert all(np.array_equal(run.evaluation.labels, test.labels) for run in one.trained)


def test_validation_images_are_used_for_training(compared):
    comparison = compared()
    assert list(comparison.dataset.splits) == ["train", "test"]
    assert all(run.images == 32 for one in comparison.model_results for run in one.trained)


def test_the_image_size_applies_to_every_model(compared):
    comparison = compared(image_size=12, seeds=1)
    assert [one.candidate.job.architecture.config["image_size"] for one in comparison.model_results] == [12, 12]


def test_after_an_interruption_finished_trainings_are_not_repeated(compared, trained, monkeypatch):
    train_here, left = runner._start, iter(range(3))

    def interrupted(*arguments: Any, **options: Any) -> Future[None]:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return train_here(*arguments, **options)

    with monkeypatch.context() as stopped, pytest.raises(Interrupted, match="run the same command again"):
        stopped.setattr(runner, "_start", interrupted)
        compared()
    assert len(trained) == 3
    monkeypatch.delattr(autotune, "time_job")  # the timings are in the store as well
    comparison = compared()
    assert len(trained) == len(set(trained)) == 4
    assert [one.scores.shape for one in comparison.model_results] == [(2, 8), (2, 8)]


def test_with_more_seeds_only_the_missing_trainings_run(compared, trained):
    compared(seeds=1)
    compared(seeds=2)
    assert len(trained) == len(set(trained)) == 4


def test_a_changed_image_repeats_all_trainings(compared, trained, pets):
    compared(seeds=1)
    Image.new("RGB", (8, 8)).save(pets / "cat" / "00.png")
    compared(seeds=1)
    assert len(set(trained)) == 4


def test_minutes_are_shared_equally_and_include_the_start_of_each_training(compared):
    comparison = compared(minutes=4 * (0.1 + compare_module.STARTUP_SECONDS) / 60)
    steps = {name: {recipe["steps"] for recipe in found} for name, found in recipes(comparison).items()}
    assert steps == {"mixer_nano": {10}, "convmixer_nano": {5}}


def test_too_few_minutes_are_refused_with_the_minimum(compared, trained):
    with pytest.raises(UserError, match=r"--minutes 0\.1 is too short for 4 trainings, .*: give at least 1, or fewer"):
        compared(minutes=0.1)
    assert trained == []


def test_with_matched_seconds_all_models_train_for_the_same_time(compared, monkeypatch):
    def with_fixed_time(*arguments: Any) -> Trained:
        return replace(evaluate_training(*arguments), training_seconds=0.24)

    monkeypatch.setattr(compare_module, "evaluate_training", with_fixed_time)
    found = recipes(compared(match="seconds"))
    assert ["steps" in recipe for recipe in found["mixer_nano"]] == [False, False]
    assert [recipe["steps"] for recipe in found["convmixer_nano"]] == [12, 12]


@pytest.mark.parametrize("match", ["parameters", "macs"])
def test_a_matched_model_has_about_the_parameters_or_macs_of_the_first(compared, match):
    first, other = (getattr(one.candidate, match) for one in compared(["mixer_nano", LARGE], match=match).model_results)
    assert other == pytest.approx(first, rel=0.1)
    alone = create_model(LARGE, image_size=8, classes=2)
    assert {"parameters": count_parameters, "macs": macs_of}[match](alone) > 2 * first


def test_a_model_of_a_fixed_size_can_not_be_matched(compared, trained):
    with pytest.raises(UserError, match="vit_nano has a fixed size, so it can't be matched to another model"):
        compared(["mixer_nano", "vit_nano"], match="parameters")
    assert trained == []


@pytest.mark.parametrize("models", [["mixer_nano"], ["mixer_nano", "mixer_nano"], [*MODELS, "mixer_nano"]])
def test_fewer_than_two_different_models_are_refused(compared, models):
    with pytest.raises(
        UserError, match=rf"--models {','.join(models)} is not a comparison: give two or more different"
    ):
        compared(models)


def test_an_unreadable_test_image_is_reported_before_the_first_training(compared, trained, pets):
    comparison = compared(seeds=1)
    trained.clear()
    (pets / comparison.dataset.splits["test"].names[0]).write_bytes(b"")
    with pytest.raises(UserError, match="can't be read: it is empty"):
        compared(seeds=1)
    assert trained == []


def test_the_plan_and_every_result_are_logged_immediately(compared, messages):
    compared()
    assert any(sentence.endswith("all models are trained in fp32, contiguous, 1 at a time.") for sentence in messages)
    assert [sentence.partition(" ")[0] for sentence in messages[-8::2]] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert all(re.fullmatch(r"  top-1 [\d.]+ %", sentence) for sentence in messages[-7::2])
    assert "mixer_nano, seed 1: trained in " in messages[-2]


def test_results_from_the_store_are_logged_with_their_names(compared, messages):
    compared()
    first = [sentence for sentence in messages if sentence.startswith("  top-1")]
    messages.clear()
    compared()
    assert messages[-8::2] == [
        f"[{place}/4] {name}, seed {seed}: found in the store"
        for place, (seed, name) in enumerate(product(range(2), MODELS[::-1]), start=1)
    ]
    assert messages[-7::2] == first
