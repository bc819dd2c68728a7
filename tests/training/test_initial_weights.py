"""What a training begins with: fresh weights, or those of a run, a file, a published model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.loop import train
from mixlab.weights.load import load

GOLDEN = Path(__file__).parents[1] / "golden" / "google_mixer_tiny.npz"
PLAN = Plan("cpu", ComputeMode(), 8)


def test_a_run_s_weights_are_where_another_goes_on_with_the_same_classes(make_job, tmp_path):
    first = train(make_job("epochs=2"), PLAN, tmp_path / "first", quiet=True)
    job = make_job(f"model={first.path}", "config={}", "seed=1")
    kept = load(first.path).state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in job.build().state_dict().items())


def test_other_classes_get_a_head_that_starts_at_zero(make_job, shades, tmp_path):
    first = train(make_job("epochs=2"), PLAN, tmp_path / "first", quiet=True)
    others = replace(shades, classes=("night", "day"))  # as many, and not the same
    job = make_job(f"model={first.path}", "config={}", dataset=others)
    kept = load(first.path).state_dict()
    for name, tensor in job.build().state_dict().items():
        assert torch.equal(tensor, torch.zeros_like(tensor) if name.startswith("head.") else kept[name]), name


def test_what_a_training_begins_with_stays_as_it_was(make_job, tmp_path):
    first = train(make_job("epochs=2"), PLAN, tmp_path / "first", quiet=True)
    before = first.weights.read_bytes()
    job = make_job(f"model={first.path}", "config={}")
    kept = {name: tensor.clone() for name, tensor in job.build().state_dict().items()}
    train(job, PLAN, tmp_path / "second", quiet=True)
    assert first.weights.read_bytes() == before
    assert all(torch.equal(kept[name], tensor) for name, tensor in job.build().state_dict().items())


def test_a_file_s_weights_come_with_its_preprocessing_and_its_size(make_job, tiny_recipe):
    del tiny_recipe["image_size"]
    job = make_job(f"model={GOLDEN}", "config={}")
    assert job.recipe.image_size == job.config["image_size"] == load(GOLDEN).config.image_size
    assert job.preprocess.resize == "shorter_side" and job.preprocess.crop_fraction == 0.875
    assert job.config["classes"] == 2


def test_what_the_recipe_says_of_images_takes_the_place_of_what_the_weights_say(make_job):
    job = make_job("preprocessing.mean=[0.4, 0.5, 0.6]", "preprocessing.interpolation=bilinear")
    assert job.preprocess == Preprocess((8, 8), mean=(0.4, 0.5, 0.6), interpolation="bilinear")


def test_another_beginning_has_another_folder_in_the_store(make_job, tmp_path):
    runs = [train(make_job(f"seed={seed}"), PLAN, tmp_path / str(seed), quiet=True) for seed in (0, 1)]
    folders = set()
    for run in runs:
        (tmp_path / "weights").mkdir(exist_ok=True)
        for name in ("config.json", "model.safetensors"):
            (tmp_path / "weights" / name).write_bytes((run.path / name).read_bytes())
        folders.add(make_job(f"model={tmp_path / 'weights'}", "config={}").folder())
    assert len(folders) == 2


def test_a_model_that_is_neither_a_size_nor_weights_is_refused(make_job):
    with pytest.raises(UserError, match=r'"mixer_nan" is not a known model.*Did you mean "mixer_nano"\?'):
        make_job("model=mixer_nan")
