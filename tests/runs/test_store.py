"""The store: the folder of a training depends on everything that determines the result, and on nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mixlab.runs.folder import start_run
from mixlab.runs.store import finished_run, store_folder
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import job as job_module
from mixlab.training.job import Job, resolve
from mixlab.training.planning import autotune
from mixlab.training.planning.autotune import timings_file
from mixlab.training.recipes.parse import apply_overrides, parse_training_recipe

PLAN = Plan("cpu", ComputeMode(), 8)


@pytest.fixture
def job(shades, tiny_recipe) -> Job:
    return resolve(parse_training_recipe(tiny_recipe, "tiny"), shades, torch.device("cpu"))


def test_the_same_training_has_the_same_folder(job, shades, tiny_recipe):
    again = resolve(parse_training_recipe(tiny_recipe, "tiny"), shades, torch.device("cpu"))
    assert again.folder(PLAN) == job.folder(PLAN)


@pytest.mark.parametrize("setting", ["optimizer.weight_decay=0.1", "steps=7", "seed=1", "augmentation.flip=true"])
def test_another_recipe_has_another_folder(job, shades, tiny_recipe, setting):
    other = resolve(parse_training_recipe(apply_overrides(tiny_recipe, [setting]), "tiny"), shades, torch.device("cpu"))
    assert other.folder(PLAN) != job.folder(PLAN)


@pytest.mark.parametrize(
    "plan",
    [Plan("cuda", ComputeMode(), 8), Plan("cpu", ComputeMode("bf16"), 8), Plan("cpu", ComputeMode(), 4)],
    ids=str,
)
def test_another_plan_has_another_folder(job, plan):
    assert job.folder(plan) != job.folder(PLAN)


def test_another_model_config_has_another_folder(job):
    assert replace(job, architecture=job.architecture.with_fields(depth=2)).folder(PLAN) != job.folder(PLAN)


def test_a_changed_image_has_another_folder(job, shades):
    train = shades.splits["train"]
    inverted = replace(train, images=[255 - train.image(0), *train.images[1:]])
    changed = replace(shades, splits=shades.splits | {"train": inverted})
    assert replace(job, dataset=changed).folder(PLAN) != job.folder(PLAN)


def test_a_dataset_without_validation_has_another_folder(job, shades):
    splits = {name: split for name, split in shades.splits.items() if name != "validation"}
    assert replace(job, dataset=replace(shades, splits=splits)).folder(PLAN) != job.folder(PLAN)


def test_another_version_of_torch_has_another_folder(job, monkeypatch):
    before = job.folder(PLAN)
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert job.folder(PLAN) != before


@pytest.mark.parametrize("family", ["mixer", "timm"])
def test_another_version_of_timm_has_another_folder_for_timm_models(job, monkeypatch, family):
    job = replace(job, architecture=replace(job.architecture, family=family))
    before = job.folder(PLAN)
    monkeypatch.setattr(job_module, "version", lambda package: "99.0")
    assert (job.folder(PLAN) != before) == (family == "timm")


def test_timings_are_cached_for_all_seeds_and_for_one_machine(job, monkeypatch):
    other_seed = replace(job, recipe=job.recipe.model_copy(update={"seed": 5}))
    assert timings_file(other_seed) == timings_file(job)
    before = timings_file(job)
    monkeypatch.setattr(autotune, "device_name", lambda device: "another processor")
    assert timings_file(job) != before


def test_the_store_is_set_by_the_environment_variable(monkeypatch):
    monkeypatch.setenv("MIXLAB_RUNS", "/elsewhere")
    assert store_folder() == Path("/elsewhere")
    monkeypatch.delenv("MIXLAB_RUNS")
    assert store_folder() == Path("runs")


def test_a_folder_name_contains_model_data_and_seed(job, monkeypatch):
    named = replace(job, recipe=job.recipe.model_copy(update={"model": "timm:vit:depth=2", "seed": 7}))
    assert named.folder(PLAN).name.startswith("timm-vit-depth-2-shades-seed7-")


def test_only_finished_trainings_are_found(tmp_path):
    assert finished_run(tmp_path / "run") is None
    run = start_run(tmp_path / "run", {}, {}, {}, {}, None)
    assert finished_run(tmp_path / "run") is None
    run.set_state("stopped")
    assert finished_run(tmp_path / "run") is None
    run.set_state("done")
    assert finished_run(tmp_path / "run") == run
