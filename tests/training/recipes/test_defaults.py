"""Default recipes: the choice for a model and a dataset, and a short training with each of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.data.audio.sound_file import Sound
from mixlab.data.dataset import Dataset, Split
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import Job, resolve
from mixlab.training.loop import train
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.recipe_files import read_recipe, recipe_names
from sounds import tone, write_sound

REDUCED: dict[str, dict[str, Any]] = {
    "mixer": {"channels": 8, "token_hidden": 8, "channel_hidden": 8, "depth": 1},
    "convmixer": {"channels": 8, "depth": 1},
    "davit": {"channels": [8, 16], "depths": [1, 1], "heads": [1, 2]},
    "resnet": {"channels": [8, 8, 8, 8]},
    "vit": {"embed_dim": 8, "depth": 1, "num_heads": 1},
}


DEFAULT = [name for name in recipe_names() if name.startswith(("digits_", "small_images_", "sounds_"))]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """A few digits, a few noise images with the name and shape of CIFAR-10, and a few tones."""
    digits = open_dataset("digits")
    noise = np.random.default_rng(0).integers(0, 256, size=(20, 32, 32, 3), dtype=np.uint8)
    split = Split([str(i) for i in range(20)], np.arange(20) % 10, list(noise))
    folder = tmp_path_factory.mktemp("sounds")
    sounds = [Sound(write_sound(folder / f"{number}.wav", tone(200 * (number + 1), 0.2))) for number in range(20)]
    tones = replace(split, images=sounds)
    return {
        "digits": replace(digits, splits={name: split.subset(range(20)) for name, split in digits.splits.items()}),
        "cifar10": replace(digits, name="cifar10", splits={"train": split, "test": split}),
        "spoken-digits": replace(digits, name="spoken-digits", splits={"train": tones, "test": tones}),
    }


def job_of(name: str, images: dict[str, Dataset], **update_every: Any) -> Job:
    fields = read_recipe(name)
    return resolve(parse_training_recipe(fields | update_every, name), images[fields["data"]], torch.device("cpu"))


@pytest.mark.parametrize("name", DEFAULT)
def test_a_recipe_is_complete_and_named_after_its_data_and_model(name):
    fields = read_recipe(name)
    assert {"model", "data", "epochs", "batch", "optimizer", "schedule", "augmentation", "loss"} <= fields.keys()
    assert default_recipe(fields["model"], fields["data"]) == (name, fields)


@pytest.mark.parametrize("name", DEFAULT)
def test_a_recipe_can_be_resolved_on_its_kind_of_data(name, images):
    job = job_of(name, images)
    size = (64, 80) if name.startswith("sounds_") else (32, 32)
    assert (job.architecture.classes, job.image_preprocess.image_size) == (10, size)


@pytest.mark.parametrize("name", DEFAULT)
def test_a_recipe_trains(name, images, tmp_path):
    reduced = REDUCED[name.rpartition("_")[2]]
    job = job_of(name, images, config=reduced, batch=8, epochs=None, steps=2)
    assert train(job, Plan("cpu", ComputeMode(), 8), tmp_path / "run", quiet=True).state == "done"


@pytest.mark.parametrize("kind", ["digits", "small_images", "sounds"])
def test_the_recipes_for_one_kind_of_data_have_the_same_epochs(kind):
    """`compare` without a length uses the epochs of these recipes."""
    epochs = {name: read_recipe(name)["epochs"] for name in recipe_names() if name.startswith(kind)}
    assert len(epochs) == 5 and len(set(epochs.values())) == 1, epochs


@pytest.mark.parametrize(
    ("model", "data", "recipe"),
    [
        ("mixer_s32", "digits", "digits_mixer"),
        ("convmixer_256_8", "cifar10:/data", "small_images_convmixer"),
        ("davit_tiny", "folder:/pets", "small_images_davit"),
        ("resnet_nano", "digits", "digits_resnet"),
        ("timm:resnet18", "folder:/pets", "small_images_resnet"),
        ("vit_nano", "digits", "digits_vit"),
        ("timm:convnext_atto", "cifar10", "small_images_vit"),
        ("variant:ablated_davit", "cifar10", "small_images_davit"),
        ("variant:ablated_convmixer", "cifar10", "small_images_convmixer"),
        ("variant:metaformer", "cifar10", "small_images_mixer"),
    ],
)
def test_the_default_recipe_is_that_of_the_family_and_the_kind_of_data(model, data, recipe):
    name, fields = default_recipe(model, data)
    assert name == recipe
    assert fields == read_recipe(recipe) | {"model": model, "data": data}


def test_an_unknown_model_has_no_default_recipe():
    with pytest.raises(UserError, match='"mixer_nani" is not a known model'):
        default_recipe("mixer_nani", "digits")


@pytest.mark.parametrize("model", ["mixer_b16.goog_in21k", "hub:owner/name", str(Path(__file__).parent)])
def test_weights_are_fine_tuned(model):
    name, fields = default_recipe(model, "folder:pets")
    assert (name, fields["model"], fields["data"]) == ("finetune_folder", model, "folder:pets")


def test_a_variant_without_its_fields_has_a_recipe():
    """The fields may be in [config]."""
    name, fields = default_recipe("variant:pooling_mixer", "digits")
    assert (name, fields["model"]) == ("digits_mixer", "variant:pooling_mixer")


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ("mixer_s32", {"stochastic_depth": 0.06}),
        ("davit_tiny", {"stochastic_depth": 0.06}),
        ("timm:resnet18", {"drop_path_rate": 0.06}),
        ("timm:vgg11", {}),
        ("variant:pooling_mixer", {"stochastic_depth": 0.06}),
        ("convmixer_nano", {}),
    ],
)
def test_a_model_gets_the_config_fields_that_it_has(model, config):
    assert default_recipe(model, "digits")[1].get("config", {}) == config


def test_a_changed_block_has_the_recipe_of_its_original_with_stochastic_depth_by_its_own_name():
    name, fields = default_recipe("variant:metaformer", "digits", "vit_nano")
    assert (name, fields["model"]) == ("digits_vit", "variant:metaformer")
    assert fields["config"] == {"stochastic_depth": default_recipe("vit_nano", "digits")[1]["config"]["drop_path_rate"]}
