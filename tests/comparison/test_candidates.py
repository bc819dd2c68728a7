"""The models of a comparison before training: the default recipe with overrides, and one compute mode."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from mixlab.comparison import candidates
from mixlab.comparison.candidates import Candidate, PlannedCandidate, make_candidate, plan_candidates
from mixlab.comparison.settings import ComparisonSettings
from mixlab.comparison.tasks.classification import IMAGES
from mixlab.errors import UserError
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import Job
from mixlab.training.planning import autotune
from mixlab.training.planning.autotune import Timings
from mixlab.training.training import STARTUP_SECONDS
from mixlab.zoo.architecture import create_model
from mixlab.zoo.sizes import find_size

PLAN = Plan("cpu", ComputeMode("bf16"), 4, threads=torch.get_num_threads())


@pytest.fixture
def candidate(shades) -> Candidate:
    return make_candidate("mixer_nano", shades, image_size=8, epochs=2, config={})


@pytest.fixture
def planned(candidate) -> PlannedCandidate:
    return PlannedCandidate(candidate, PLAN, 0.25)


@pytest.fixture
def timed(tmp_path, monkeypatch) -> list[Job]:
    """The jobs that are timed, with fixed times: bf16 is faster."""
    jobs: list[Job] = []

    def time_job(job: Job, log: Any, processes: int = 1) -> Timings:
        jobs.append(job)
        return Timings(4, "released", {ComputeMode(): 0.5, ComputeMode("bf16"): 0.25})

    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path))
    monkeypatch.setattr(autotune, "time_job", time_job)
    return jobs


def test_a_candidate_has_the_default_recipe_of_its_model(shades):
    found = make_candidate("davit_nano", shades, image_size=None, epochs=None, config={})
    assert (found.name, found.recipe_name, found.job.architecture.family) == (
        "davit_nano",
        "small_images_davit",
        "davit",
    )
    assert found.job.image_preprocess.image_size == (32, 32)


def test_arguments_override_the_recipe(shades):
    found = make_candidate("mixer_nano", shades, image_size=(8, 12), epochs=3, config={"channels": 16})
    assert (found.job.recipe.epochs, found.job.architecture.config["channels"]) == (3, 16)
    assert found.job.recipe.config["channels"] == 16
    assert found.job.image_preprocess.image_size == (8, 12)


def test_validation_images_are_merged_into_train_by_the_recipe(candidate, shades):
    assert candidate.job.recipe.validation == "merged"
    assert list(candidate.job.dataset.splits) == ["train", "test"]
    assert candidate.job.dataset.splits["train"].names == [
        *shades.splits["train"].names,
        *shades.splits["validation"].names,
    ]


@pytest.mark.parametrize("name", ["convmixer_nano", "resnet_nano"])
def test_parameters_and_macs_are_those_of_the_trained_model(shades, name):
    found = make_candidate(name, shades, image_size=16, epochs=None, config={})
    model = create_model(name, image_size=16, classes=2)
    assert (found.parameters, found.macs) == (count_parameters(model), count_macs(model, (3, 16, 16)))


def test_an_unknown_model_is_refused(shades):
    with pytest.raises(UserError, match='"mixer_nani" is not a known model'):
        make_candidate("mixer_nani", shades, image_size=None, epochs=None, config={})


def test_another_seed_changes_only_the_seed(planned):
    training, job = planned.training(7), planned.candidate.job
    assert training.job.recipe.seed == 7
    assert replace(training.job, recipe=job.recipe) == job
    assert training.job.recipe.model_copy(update={"seed": 0}) == job.recipe
    assert (training.plan, training.seconds_per_step) == (PLAN, 0.25)
    assert training.folder != planned.training(8).folder


def test_with_steps_replaces_the_epochs(candidate):
    recipe = candidate.with_steps(9).job.recipe
    assert (recipe.steps, recipe.epochs) == (9, None)


def test_a_candidate_is_timed_once_and_its_timings_are_cached(candidate, timed):
    first = plan_candidates([candidate], ComparisonSettings(), log=print)
    assert (
        plan_candidates([candidate], ComparisonSettings(), log=print)
        == first
        == [PlannedCandidate(candidate, PLAN, 0.25)]
    )
    assert len(timed) == 1


def test_every_candidate_is_timed_and_all_get_the_same_mode(candidate, shades, timed):
    larger = make_candidate("mixer_nano", shades, image_size=16, epochs=2, config={})
    planned = plan_candidates([candidate, larger], ComparisonSettings(), log=print)
    assert timed == [candidate.job, larger.job]
    assert [(one.candidate, one.plan.mode) for one in planned] == [(candidate, PLAN.mode), (larger, PLAN.mode)]


def test_trainings_with_matched_seconds_run_one_at_a_time(candidate, timed, monkeypatch):
    """Other trainings would change the measured time of the first one."""
    monkeypatch.delattr(candidates, "select_plans")
    (planned,) = plan_candidates([candidate], ComparisonSettings(match="seconds"), log=print)
    assert planned.plan.concurrent == 1


def test_the_number_of_trainings_at_the_same_time_is_chosen_for_all_seeds(candidate, timed, monkeypatch):
    chosen = []

    def select_concurrent_plans(jobs: list[Job], log: Any, *, seeds: int) -> list[tuple[Plan, float]]:
        chosen.append((jobs, seeds))
        return [(PLAN, 0.25)]

    monkeypatch.setattr(candidates, "select_plans", select_concurrent_plans)
    planned = plan_candidates([candidate], ComparisonSettings(seeds=7), log=print)
    assert planned == [PlannedCandidate(candidate, PLAN, 0.25)]
    assert chosen == [([candidate.job], 7)]


def test_the_seconds_of_a_training_include_all_steps_and_the_start(planned):
    """Two epochs of 52 images, including the validation images, in batches of four."""
    assert planned.candidate.job.batch == 4
    assert planned.training(seed=0).seconds == STARTUP_SECONDS + 26 * 0.25


@pytest.mark.parametrize(("seconds", "steps"), [(10.0, 40), (10.1, 40), (10.2, 41), (0.01, 1)])
def test_a_duration_in_seconds_is_converted_to_at_least_one_step(planned, seconds, steps):
    lasting = planned.lasting(seconds)
    assert lasting.candidate.job.recipe.steps == steps
    assert lasting.training(seed=0).seconds == STARTUP_SECONDS + steps * 0.25


def test_the_default_models_have_similar_parameter_counts():
    parameters = [find_size(name).parameters for name in IMAGES.models]
    assert len(parameters) == 5 and max(parameters) < 1.1 * min(parameters)
