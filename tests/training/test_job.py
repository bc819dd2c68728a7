"""Jobs: the resolved recipe, the config, the batch size and the initial weights."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.runs.folder import FORMAT
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import resolve
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_config

CPU = torch.device("cpu")


def test_the_config_has_every_field_of_the_model_config(make_job):
    job = make_job()
    assert job.architecture.config == asdict(job.build().config)
    assert (job.architecture.classes, job.architecture.config["channels"], job.architecture.image_size) == (2, 8, 8)


def test_a_resolved_recipe_has_no_automatic_values(make_job, tiny_recipe):
    del tiny_recipe["image_size"]
    recipe = make_job("batch=auto").recipe
    assert (recipe.image_size, recipe.batch, recipe.data) == (32, 4, "shades")


def test_a_resolved_recipe_resolves_to_itself(make_job, shades):
    job = make_job("batch=auto")
    assert resolve(parse_training_recipe(job.recipe.to_dict(), "again"), shades, CPU) == job


@pytest.mark.parametrize(
    ("images", "batch"),
    [(2, 2), (15, 2), (16, 2), (31, 2), (32, 4), (1157, 128), (1023, 64), (1024, 128), (10**5, 128)],
)
def test_an_automatic_batch_is_the_largest_power_of_two_up_to_128_with_eight_steps_per_epoch(
    make_job, shades, images, batch
):
    train = shades.splits["train"].subset(np.arange(images) % 40)
    job = make_job("batch=auto", dataset=replace(shades, splits=shades.splits | {"train": train}))
    assert job.batch == batch


def test_a_batch_is_at_most_the_number_of_images(make_job):
    assert make_job("batch=64").batch == 40


@pytest.fixture
def deep(pets: Path) -> Dataset:
    """Images with values of 12 bits in files of 16 bits."""
    for number, file in enumerate(sorted(pets.rglob("*.png"))):
        Image.fromarray(np.full((8, 8), 2000 + number, dtype=np.uint16)).save(file)
    return open_dataset(f"folder:{pets}")


def test_the_resolved_recipe_has_the_value_range_of_the_training_images(make_job, deep):
    job = make_job(dataset=deep)
    assert job.recipe.preprocessing.value_range == job.preprocess.value_range == (0, 4095)
    assert resolve(parse_training_recipe(job.recipe.to_dict(), "again"), deep, CPU) == job


def test_a_value_range_of_the_recipe_replaces_that_of_the_training_images(make_job, deep):
    job = make_job("preprocessing.value_range=[0, 3000]", dataset=deep)
    assert job.recipe.preprocessing.value_range == job.preprocess.value_range == (0, 3000)


def test_a_training_on_a_subset_has_the_value_range_of_all_training_images(make_job, deep):
    brightest = deep.splits["train"].images[-1]
    assert isinstance(brightest, Path)
    Image.fromarray(np.full((8, 8), 60_000, dtype=np.uint16)).save(brightest)
    job = make_job("subset.per_class=1", dataset=deep)
    assert brightest not in job.dataset.splits["train"].images
    assert job.preprocess.value_range == (0, 65535)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("config.classes=5", "config.classes=5 does not fit shades, which has 2 classes: remove it."),
        (
            "config.image_channels=1",
            "config.image_channels=1 does not fit shades, which has 3 image channels: remove it.",
        ),
        ("config.in_chans=1", "config.image_channels=1 does not fit shades, which has 3 image channels: remove it."),
    ],
)
def test_fields_that_follow_from_the_data_can_not_be_set(make_job, setting, sentence):
    with pytest.raises(UserError) as refused:
        make_job(setting)
    assert str(refused.value).startswith(sentence)


def test_epochs_are_converted_to_steps(make_job):
    assert make_job("epochs=3").steps(5) == 15
    assert make_job("steps=7").steps(5) == 7


def test_config_json_has_everything_that_prediction_needs(make_job, tmp_path):
    job = make_job()
    write_config(tmp_path, job.architecture, job.dataset.classes, job.preprocess, job.recipe.model)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "format": FORMAT,
        "model": "mixer_nano",
        "family": "mixer",
        "config": job.architecture.config,
        "classes": ["dark", "light"],
        "preprocess": job.preprocess.to_dict(),
    }


@pytest.fixture
def given(make_job) -> Weights:
    """The weights of the tiny model, created once."""
    job = make_job()
    return Weights(job.architecture.family, job.architecture.config, job.build().state_dict())


def test_a_job_with_weights_builds_a_model_with_a_copy_of_them(make_job, given):
    model = replace(make_job(), weights=given).build()
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, given.tensors[name])
    before = given.tensors["head.bias"].clone()
    torch.nn.init.ones_(model.get_parameter("head.bias"))
    assert torch.equal(given.tensors["head.bias"], before)


def test_the_folder_in_the_store_depends_on_the_initial_weights(make_job, given):
    job, plan = make_job(), Plan("cpu", ComputeMode(), 8)
    other = replace(given, tensors={name: tensor + 1 for name, tensor in given.tensors.items()})
    folders = {replace(job, weights=weights).folder(plan) for weights in (None, given, given.clone(), other)}
    assert len(folders) == 3


def test_a_new_head_has_the_bias_of_the_recipe(make_job):
    model = make_job("loss.name=sigmoid", "loss.head_bias=-6.9").build()
    assert model.get_parameter("head.bias").tolist() == pytest.approx([-6.9, -6.9])


def test_the_new_head_of_a_timm_model_has_the_bias_of_the_recipe(make_job, tiny_recipe):
    tiny_recipe["config"] = {"embed_dim": 8, "depth": 1, "num_heads": 1}
    model = make_job("model=vit_nano", "loss.name=sigmoid", "loss.head_bias=-6.9").build()
    assert model.get_parameter("network.head.bias").tolist() == pytest.approx([-6.9, -6.9])


def test_a_bias_for_the_head_of_pretrained_weights_is_refused(make_job, tmp_path):
    with pytest.raises(
        UserError, match=r"^loss\.head_bias=-6\.9 is for random weights, but .* is pretrained: remove it\."
    ):
        make_job(f"model={tmp_path}", "loss.name=sigmoid", "loss.head_bias=-6.9")


def test_a_model_of_another_library_is_refused(make_job):
    with pytest.raises(UserError, match='model="papers:pvt_small" is only for `mixlab benchmark`'):
        make_job("model=papers:pvt_small", "config={}")


def test_a_crop_of_stretched_images_is_refused(make_job):
    with pytest.raises(UserError, match=r"preprocessing\.crop_fraction=0\.5 has no effect, because images"):
        make_job("preprocessing.crop_fraction=0.5")
    cropped = make_job("preprocessing.crop_fraction=0.5", "preprocessing.resize=shorter_side").preprocess
    assert cropped.crop_fraction == 0.5
