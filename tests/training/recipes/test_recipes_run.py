"""Every recipe of mixlab is complete, can be resolved, and trains two steps with a reduced model of its family."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.evaluation import training_images
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import job as job_module
from mixlab.training.job import resolve
from mixlab.training.loop import train
from mixlab.training.optimizer import build_optimizers
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.recipe_files import read_recipe, recipe_names
from mixlab.training.schedule import lr_factor
from mixlab.weights.adapt import Weights
from mixlab.weights.load import Pretrained
from mixlab.weights.source import Source
from mixlab.zoo.architecture import architecture, create_model, of_family
from mixlab.zoo.cards import find_card

CPU = torch.device("cpu")
REDUCED: dict[str, dict[str, Any]] = {
    "mixer": {"channels": 8, "token_hidden": 8, "channel_hidden": 8, "depth": 2},
    "convmixer": {"channels": 8, "depth": 1},
    "davit": {"channels": [8, 16], "depths": [1, 1], "heads": [1, 2]},
    "resnet_nano": {"channels": [8, 8, 8, 8]},
    "vit_nano": {"embed_dim": 8, "depth": 1, "num_heads": 1},
}


@pytest.fixture(scope="module")
def colours() -> Dataset:
    """Noise of 40x36 pixels in three classes: twelve images for training, six for validation, six for the test."""
    random = np.random.default_rng(0)

    def split(name: str, n_images: int) -> Split:
        images = random.integers(0, 256, size=(n_images, 40, 36, 3), dtype=np.uint8)
        return Split([f"{name}/{i}" for i in range(n_images)], np.arange(n_images) % 3, list(images))

    splits = {"train": split("train", 12), "validation": split("validation", 6), "test": split("test", 6)}
    return Dataset("colours", ("red", "green", "blue"), splits)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_sets_all_important_keys(name):
    fields = read_recipe(name)
    parse_training_recipe(fields, name)
    assert {"model", "data", "batch", "optimizer", "schedule", "augmentation", "loss"} <= fields.keys()
    assert {"name", "learning_rate", "weight_decay"} <= fields["optimizer"].keys()


@pytest.mark.parametrize("name", [name for name in recipe_names() if not name.startswith(("digits", "images"))])
def test_expected_results_have_a_source_and_an_evaluation_set(name):
    expected = parse_training_recipe(read_recipe(name), name).expected
    assert expected is None or (expected.by and expected.on)
    assert expected is None or expected.n is None, "published results have no number of trainings"


def test_the_recipes_of_the_papers_have_the_published_learning_rates():
    """Learning rates at a fraction of the training. The steps per epoch are those of ImageNet's 1.27 million images."""
    rates = {
        ("mixer_b16_in1k", 311, 10_000 / (300 * 311)): 1e-3,
        ("mixer_b16_in1k_big_vision", 311, 1.0): 1e-8,
        ("convmixer_1536_20_in1k", 2001, 0.4): 1e-2,
        ("convmixer_1536_20_in1k", 2001, 0.8): 5e-4,
        ("davit_tiny_in1k", 1251, 2.5 / 310): 1e-6 + 2 / 5 * (1e-3 - 1e-6),
        ("davit_tiny_in1k", 1251, 305 / 310): 1e-5,
        ("convmixer_256_8_cifar10_25_epochs", 98, 10 / 25): 0.05,
    }
    for (name, steps_per_epoch, moment), rate in rates.items():
        recipe = parse_training_recipe(read_recipe(name), name)
        assert recipe.epochs is not None
        steps = (recipe.epochs + recipe.schedule.cooldown_epochs) * steps_per_epoch
        share = lr_factor(recipe.schedule, round(moment * steps) - 1, steps, steps_per_epoch)
        assert share * recipe.optimizer.learning_rate == pytest.approx(rate, rel=1e-6), (name, moment)


def test_the_weight_decay_of_big_vision_equals_that_of_the_paper():
    model = create_model("mixer_nano", depth=1)
    decay_parameters = [
        sorted({group["weight_decay"] for group in build_optimizers(recipe.optimizer, model)[0].param_groups})
        for name in ("mixer_b16_in1k", "mixer_b16_in1k_big_vision")
        if (recipe := parse_training_recipe(read_recipe(name), name))
    ]
    assert decay_parameters[0] == pytest.approx(decay_parameters[1]) == [0, 0.1]


def test_the_cifar10_recipe_of_convmixer_equals_the_loop_of_its_authors(colours, tmp_path):
    """All 25 epochs of a reduced model: plain PyTorch on the same images gives identical weights."""
    name = "convmixer_256_8_cifar10_25_epochs"
    recipe = parse_training_recipe(read_recipe(name) | {"config": REDUCED["convmixer"], "batch": 6, "workers": 0}, name)
    job = resolve(recipe, colours, CPU)
    trained = load_file(train(job, Plan("cpu", ComputeMode(), 6), tmp_path / "run", quiet=True).weights)

    torch.manual_seed(recipe.seed)
    model = job.build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.005, fused=True)
    batches = job.training_batches(quiet=True)
    for epoch in range(25):
        for step, batch in enumerate(batches.epoch(epoch)):
            images, labels = batch.on(CPU)
            moment = epoch + (step + 1) / len(batches)
            optimizer.param_groups[0]["lr"] = np.interp(moment, [0, 10, 20, 25], [0, 0.05, 0.05 / 20, 0])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    assert trained.keys() == model.state_dict().keys()
    assert all(torch.equal(trained[key], value) for key, value in model.state_dict().items())


OF_IMAGES = [name for name in recipe_names() if read_recipe(name).get("task") not in ("segmentation", "text")]
"""Tests of these tasks train their recipes."""


@pytest.mark.long
@pytest.mark.parametrize("name", OF_IMAGES)
def test_a_recipe_trains_two_steps(name, colours, tmp_path, monkeypatch):
    fields = read_recipe(name)
    card = find_card(fields["model"])
    described = architecture(card.size if card else fields["model"])
    reduced = REDUCED[described.family if described.family != "timm" else fields["model"]]
    if card:  # published weights are not on every machine: random ones replace them
        _stand_in(monkeypatch, described.family, {**described.config, **reduced})
    whole = parse_training_recipe(fields, name)
    size = min(whole.image_size or 32, 32) if isinstance(whole.image_size or 32, int) else 32
    small = {"image_size": size, "batch": 6, "accumulate": 1, "workers": 0, "epochs": None, "steps": 2}
    if card is None:
        small["config"] = fields.get("config", {}) | reduced | _patches(described.config)
    recipe = parse_training_recipe(fields | small | {"schedule": _short(fields["schedule"])}, name)
    job = resolve(recipe, colours, CPU)
    assert train(job, Plan("cpu", ComputeMode(), 6), tmp_path / "run", quiet=True).state == "done"


def _patches(config: Any) -> dict[str, int]:
    """A patch size for 32 pixels, for models for 224 pixels."""
    return {"patch_size": 8} if "patch_size" in config and config["image_size"] == 224 else {}


def _short(schedule: dict[str, Any]) -> dict[str, Any]:
    """Replace a warm-up in steps or epochs, which is longer than two steps, by a fraction of the training."""
    remaining = {key: value for key, value in schedule.items() if key not in ("warmup_steps", "warmup_epochs")}
    return remaining if len(remaining) == len(schedule) else remaining | {"warmup": 0.5}


def _stand_in(monkeypatch: pytest.MonkeyPatch, family: str, config: dict[str, Any]) -> None:
    def opened(source: str, *, image_size: int | None, **_: Any) -> Pretrained:
        model = of_family(
            family, family, config | {"image_size": image_size or 32, "patch_size": 8, "classes": 5}
        ).build()
        weights = Weights(
            family, config | {"image_size": image_size or 32, "patch_size": 8, "classes": 5}, model.state_dict()
        )
        return Pretrained(weights, tuple("abcde"), Preprocess((32, 32)))

    monkeypatch.setattr(job_module, "load_pretrained", opened)
    monkeypatch.setattr(training_images, "find_source", lambda source: Source(path=Path(source)))
