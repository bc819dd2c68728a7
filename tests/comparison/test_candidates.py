"""Who is compared: the usual recipe with what was asked for over it, and one remembered plan."""

from dataclasses import replace
from typing import Any

import pytest

from mixlab.comparison.candidates import DEFAULT_MODELS, Candidate, PlannedCandidate, make_candidate, plan_candidate
from mixlab.errors import UserError
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import Job
from mixlab.training.planning import autotune
from mixlab.zoo.architecture import create_model
from mixlab.zoo.sizes import find_size

PLAN = Plan("cpu", ComputeMode("bf16"), 4)


@pytest.fixture
def candidate(shades) -> Candidate:
    return make_candidate("mixer_nano", shades, image_size=8, epochs=2, config={})


@pytest.fixture
def trials(tmp_path, monkeypatch) -> list[Job]:
    """The jobs that a plan was tried for."""
    tried: list[Job] = []

    def decide(job: Job, log: Any, processes: int) -> tuple[Plan, float]:
        tried.append(job)
        return PLAN, 0.25

    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path))
    monkeypatch.setattr(autotune, "select_plan", decide)
    return tried


def test_a_contender_has_its_default_recipe(shades):
    found = make_candidate("davit_nano", shades, image_size=None, epochs=None, config={})
    assert (found.name, found.recipe_name, found.job.family) == ("davit_nano", "small_images_davit", "davit")
    assert found.job.preprocess.image_size == (32, 32)


def test_what_is_asked_for_goes_over_the_default_recipe(shades):
    found = make_candidate("mixer_nano", shades, image_size=(8, 12), epochs=3, config={"channels": 16})
    assert (found.job.recipe.epochs, found.job.config["channels"]) == (3, 16)
    assert found.job.preprocess.image_size == (8, 12)


@pytest.mark.parametrize("name", ["convmixer_nano", "resnet_nano"])
def test_the_counts_are_those_of_the_model_that_will_be_trained(shades, name):
    found = make_candidate(name, shades, image_size=16, epochs=None, config={})
    model = create_model(name, image_size=16, classes=2)
    assert (found.parameters, found.macs) == (count_parameters(model), count_macs(model, (3, 16, 16)))


def test_an_unknown_model_does_not_enter(shades):
    with pytest.raises(UserError, match='"mixer_nani" is not a known model'):
        make_candidate("mixer_nani", shades, image_size=None, epochs=None, config={})


def test_another_seed_changes_nothing_else(candidate):
    job = candidate.seeded(7)
    assert job.recipe.seed == 7
    assert replace(job, recipe=candidate.job.recipe) == candidate.job


def test_a_length_in_steps_takes_the_place_of_the_epochs(candidate):
    recipe = candidate.lasting(9).job.recipe
    assert (recipe.steps, recipe.epochs) == (9, None)


def test_a_plan_is_tried_once_and_cached(candidate, trials):
    first = plan_candidate(candidate, log=print)
    assert plan_candidate(candidate, log=print) == first == PlannedCandidate(candidate, PLAN, 0.25)
    assert len(trials) == 1


def test_another_model_has_a_plan_of_its_own(candidate, shades, trials):
    plan_candidate(candidate, log=print)
    plan_candidate(make_candidate("mixer_nano", shades, image_size=16, epochs=2, config={}), log=print)
    assert len(trials) == 2


def test_the_seconds_of_a_training_are_those_of_all_its_steps(candidate):
    """Forty images in batches of four, twice."""
    assert candidate.job.batch == 4
    assert PlannedCandidate(candidate, PLAN, 0.25).seconds == 20 * 0.25


@pytest.mark.parametrize(("seconds", "steps"), [(10.0, 40), (10.1, 40), (10.2, 41), (0.01, 1)])
def test_a_training_that_is_to_last_so_long_has_that_many_steps_and_at_least_one(candidate, seconds, steps):
    lasting = PlannedCandidate(candidate, PLAN, 0.25).lasting(seconds)
    assert lasting.candidate.job.recipe.steps == steps
    assert lasting.seconds == steps * 0.25


def test_the_default_models_are_of_about_equal_parameters():
    parameters = [find_size(name).parameters for name in DEFAULT_MODELS]
    assert len(parameters) == 5 and max(parameters) < 1.1 * min(parameters)
