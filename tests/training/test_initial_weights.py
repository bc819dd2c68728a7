"""The initial weights of a training: random, or those of a run, a file or a published model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import step
from mixlab.training.loop import train
from mixlab.weights.load import load
from mixlab.zoo import user_code
from mixlab.zoo.user_code import trust_code

GOLDEN = Path(__file__).parents[1] / "golden" / "google_mixer_tiny.npz"
PLAN = Plan("cpu", ComputeMode(), 8)


def test_weights_of_a_run_with_the_same_classes_keep_their_head(make_job, tmp_path):
    first = train(make_job("epochs=2"), PLAN, tmp_path / "first", quiet=True)
    job = make_job(f"model={first.path}", "config={}", "seed=1")
    before_training = load(first.path).state_dict()
    assert all(torch.equal(before_training[name], tensor) for name, tensor in job.build().state_dict().items())


def test_a_run_with_other_classes_gets_a_head_of_zeros(make_job, shades, tmp_path):
    first = train(make_job("epochs=2"), PLAN, tmp_path / "first", quiet=True)
    others = replace(shades, classes=("night", "day"))  # the same number, but other classes
    job = make_job(f"model={first.path}", "config={}", dataset=others)
    before_training = load(first.path).state_dict()
    for name, tensor in job.build().state_dict().items():
        assert torch.equal(tensor, torch.zeros_like(tensor) if name.startswith("head.") else before_training[name]), (
            name
        )


def test_training_does_not_change_the_initial_weights(make_job, tmp_path):
    first = train(make_job("epochs=2"), PLAN, tmp_path / "first", quiet=True)
    content = first.weights.read_bytes()
    job = make_job(f"model={first.path}", "config={}")
    before_training = {name: tensor.clone() for name, tensor in job.build().state_dict().items()}
    train(job, PLAN, tmp_path / "second", quiet=True)
    assert first.weights.read_bytes() == content
    assert all(torch.equal(before_training[name], tensor) for name, tensor in job.build().state_dict().items())


def test_weights_of_a_file_come_with_its_preprocessing_and_image_size(make_job, tiny_recipe):
    del tiny_recipe["image_size"]
    job = make_job(f"model={GOLDEN}", "config={}")
    assert job.recipe.image_size == job.architecture.image_size == load(GOLDEN).config.image_size
    assert job.preprocess.resize == "shorter_side" and job.preprocess.crop_fraction == 0.875
    assert job.architecture.classes == 2


def test_the_preprocessing_of_the_recipe_replaces_that_of_the_weights(make_job):
    job = make_job("preprocessing.mean=[0.4, 0.5, 0.6]", "preprocessing.interpolation=bilinear")
    assert job.preprocess == Preprocess((8, 8), mean=(0.4, 0.5, 0.6), interpolation="bilinear")


def test_other_initial_weights_have_another_folder_in_the_store(make_job, tmp_path):
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


def test_the_image_size_of_the_config_applies_to_weights(make_job, tiny_recipe):
    del tiny_recipe["image_size"]
    resized = make_job(f"model={GOLDEN}", "config={ image_size = 64 }")
    assert resized.architecture == make_job(f"model={GOLDEN}", "config={}", "image_size=64").architecture


def test_a_variant_starts_from_its_own_run(make_job, tmp_path):
    """With its own head, and with a new one."""
    model = "model=variant:pooling_mixer"
    first = train(make_job(model), PLAN, tmp_path / "first", quiet=True)
    given = (model, "config={}", f"initialization.weights={first.path}")
    trained = load(first.path).state_dict()
    same, other = (
        make_job(*given).build().state_dict(),
        make_job(*given, "initialization.head=zero").build().state_dict(),
    )
    assert all(torch.equal(same[name], trained[name]) for name in trained)
    assert all(torch.equal(other[name], trained[name]) for name in trained if not name.startswith("head."))
    assert not other["head.weight"].any() and not other["head.bias"].any()


def test_a_model_of_user_code_starts_from_its_own_run(make_job, tmp_path, monkeypatch):
    """The run has a copy of the code, which counts as the same family; changed code does not."""
    monkeypatch.setattr(user_code, "cache_folder", lambda: tmp_path / "cache")
    file = tmp_path / "mine.py"
    file.write_text(
        "from mixlab.models.mixer import Mixer, MixerConfig\ndef mine(config: MixerConfig):\n    return Mixer(config)\n"
    )
    trust_code(file)
    first = train(make_job(f"model=py:{file}:mine"), PLAN, tmp_path / "first", quiet=True)
    given = (f"model=py:{file}:mine", "config={}", f"initialization.weights={first.path}")
    trained = load(first.path).state_dict()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in make_job(*given).build().state_dict().items())
    file.write_text(file.read_text().replace("return Mixer(config)", "return Mixer(config).train()"))
    trust_code(file)
    with pytest.raises(UserError, match="give weights of the same family"):
        make_job(*given)


def test_a_run_stores_the_code_that_it_was_started_with(make_job, tmp_path, monkeypatch):
    monkeypatch.setattr(user_code, "cache_folder", lambda: tmp_path / "cache")
    file = tmp_path / "mine.py"
    started = (
        "from mixlab.models.mixer import Mixer, MixerConfig\ndef mine(config: MixerConfig):\n    return Mixer(config)\n"
    )
    file.write_text(started)
    trust_code(file)
    accumulate_gradients = step.accumulate_gradients

    def edited_meanwhile(*arguments, **options):
        file.write_text(started + "# edited during the training\n")
        return accumulate_gradients(*arguments, **options)

    monkeypatch.setattr(step, "accumulate_gradients", edited_meanwhile)
    run = train(make_job(f"model=py:{file}:mine"), PLAN, tmp_path / "run", quiet=True)
    assert (run.path / user_code.COPY).read_text() == started
