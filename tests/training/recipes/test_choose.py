"""The recipe that is chosen without RECIPE and --model, with published weights on a server on loopback."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from loopback import Serve
from mixlab.data.dataset import Dataset
from mixlab.data.image_file import UnreadableImage
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.evaluation.probes import features
from mixlab.measure.machine import pick_device
from mixlab.prediction.predictor import Predictor
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import resolve
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.linear_probe.train import resolve_linear_probe, train_linear_probe
from mixlab.training.loop import train
from mixlab.training.recipes import choose as module
from mixlab.training.recipes.choose import (
    best_accuracy_per_mac,
    from_scratch_recipe,
    median_short_side,
    without_weights,
)
from mixlab.training.recipes.parse import parse_recipe, parse_training_recipe
from mixlab.weights import source
from mixlab.weights.load import load_pretrained
from mixlab.weights.storage.write import write_tensors
from mixlab.zoo import cards
from mixlab.zoo.architecture import create_model
from mixlab.zoo.cards import Card, CardSource, Expected
from mixlab.zoo.sizes import Paper, find_size

CPU, GPU = torch.device("cpu"), torch.device("cuda")
NOVEL = ("bird", "cat", "ship")

Publish = Callable[..., Card]


@pytest.fixture
def publish(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Makes the tensors of a mixer_nano the only published weights, and serves their file."""
    folder = tmp_path / "served"
    folder.mkdir()
    for module_with_cache in (source, features):
        monkeypatch.setattr(module_with_cache, "cache_folder", lambda: tmp_path / "cache")
    address = f"{serve(folder).address}/mixer.safetensors"

    def published(tensors: dict[str, torch.Tensor], **fields: Any) -> Card:
        write_tensors(folder / "mixer.safetensors", tensors)
        size = find_size("mixer_nano")
        card = Card(
            name="mixer_nano.test",
            size=size.name,
            family="mixer",
            config={**size.config, "classes": len(tensors["head.bias"])},
            parameters=size.parameters,
            macs=16_000_000,
            paper=Paper("", ""),
            labels="imagenet-1k",
            licence="",
            provenance="",
            preprocess={
                "image_size": [32, 32],
                "resize": "stretch",
                "crop_fraction": 1.0,
                "interpolation": "bicubic",
                "mean": [0.5, 0.5, 0.5],
                "std": [0.5, 0.5, 0.5],
            },
            sources=(CardSource("url", address, "mixer.safetensors", "mixlab", "unknown"),),
            expected=(Expected("top1", 50.0, "nobody", "ImageNet-1k validation"),),
        )
        card = replace(card, **fields)
        monkeypatch.setattr(cards, "_cards", lambda: (card,))
        return card

    return published


@pytest.fixture
def card(publish: Publish) -> Card:
    """A Card with random weights."""
    return publish(dict(create_model("mixer_nano", classes=10).state_dict()))


@pytest.fixture
def photographs(shades: Dataset) -> Dataset:
    """The shades at 80 pixels a side."""
    splits = {
        name: replace(
            split, images=[np.kron(split.image(i), np.ones((10, 10, 1), np.uint8)) for i in range(len(split))]
        )
        for name, split in shades.splits.items()
    }
    return replace(shades, splits=splits)


def test_davit_tiny_has_the_best_accuracy_per_mac_of_all_published_weights():
    assert best_accuracy_per_mac().name == "davit_tiny.msft_in1k"


def test_the_best_accuracy_per_mac_can_be_restricted_to_a_family():
    assert best_accuracy_per_mac("convmixer_").name == "convmixer_1024_20.authors_in1k"


def test_on_a_cpu_a_linear_probe_is_chosen_for_photographs(card, photographs, tmp_path):
    chosen = module.choose_recipe(photographs, CPU)
    assert chosen.fields == {"model": "mixer_nano.test", "data": "shades", "linear_probe": {}}
    assert "mixer_nano.test (50.0 % on ImageNet at 0.016 billion MACs per image)" in chosen.reason
    assert "On a CPU, a linear probe" in chosen.reason
    assert (tmp_path / "cache" / "weights" / "mixer_nano.test" / "mixer.safetensors").is_file()


def test_on_a_gpu_fine_tuning_is_chosen_for_photographs(card, photographs, monkeypatch):
    monkeypatch.setattr(module, "read_recipe", lambda name: {"model": "", "epochs": 10})
    chosen = module.choose_recipe(photographs, GPU)
    assert chosen.name.startswith("finetune")
    assert chosen.fields == {"model": "mixer_nano.test", "data": "shades", "epochs": 10}
    assert "On a GPU, " in chosen.reason


def test_for_small_images_training_from_scratch_is_chosen_without_a_download(card, shades, tmp_path):
    chosen = module.choose_recipe(shades, GPU)
    assert chosen.name == "small_images_convmixer"
    assert parse_training_recipe(chosen.fields, chosen.name).model == "convmixer_nano"
    assert chosen.reason == (
        "The images have a shorter side of 8 pixels, and published weights are for larger images. "
        "convmixer_nano is trained from scratch with the recipe small_images_convmixer."
    )
    assert not (tmp_path / "cache").exists()


def test_from_scratch_downloads_no_weights_for_photographs(card, photographs, tmp_path):
    chosen = from_scratch_recipe(photographs)
    assert (chosen.name, chosen.fields["data"]) == ("small_images_convmixer", "shades")
    assert not (tmp_path / "cache").exists()


def test_a_failed_download_names_the_file_and_the_option_from_scratch(publish, photographs):
    gone = CardSource("url", "http://127.0.0.1:9/m.safetensors", "m.safetensors", "mixlab", "unknown")
    publish(dict(create_model("mixer_nano", classes=10).state_dict()), sources=(gone,))
    with pytest.raises(
        UserError,
        match=r"by hand, and put it at .*m\.safetensors\. Or use --from-scratch to train without published weights\.",
    ):
        module.choose_recipe(photographs, CPU)


def test_the_median_short_side_ignores_unreadable_images(shades, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    sizes = [(30, 90), (40, 41), (300, 200)]
    images = [np.zeros((*size, 3), dtype=np.uint8) for size in sizes] + [tmp_path / "broken.png"]
    split = replace(shades.splits["train"].subset([0, 1, 2, 3]), images=images)
    assert median_short_side(split) == 40
    with pytest.raises(UnreadableImage, match="broken"):
        median_short_side(split.subset([3]))


@pytest.mark.long
def test_a_linear_probe_of_weights_trained_on_other_classes_is_better_than_chance(publish, shared_data, tmp_path):
    """The weights are trained on 7 classes for a few seconds; the probe has 40 images of each of 3 other classes."""
    cifar10 = open_dataset(f"cifar10:{shared_data}", quiet=True)
    everything, draw = cifar10.splits["train"], np.random.default_rng(0)
    known = [place for place, label in enumerate(cifar10.classes) if label not in NOVEL]
    chosen = draw.permutation(np.flatnonzero(np.isin(everything.labels, known)))[:2_000]
    split = everything.subset(chosen)
    base = replace(
        cifar10,
        classes=tuple(cifar10.classes[place] for place in known),
        splits={"train": replace(split, labels=np.searchsorted(known, split.labels)), "test": split},
    )
    settings = {"learning_rate": 2e-3, "weight_decay": 0.1, "clip_norm": 1.0}
    recipe = {"model": "mixer_nano", "data": "cifar10", "epochs": 5, "batch": 64, "optimizer": settings}
    job = resolve(parse_training_recipe(recipe, "pretraining"), base, pick_device())
    pretrained = train(job, Plan(job.device.type, ComputeMode(), 64), tmp_path / "pretrained", quiet=True)
    publish(dict(load_pretrained(pretrained.path).weights.tensors))

    images: dict[str, list[np.ndarray]] = {}
    for label in NOVEL:
        places = np.flatnonzero(everything.labels == cifar10.classes.index(label))[:140]
        images[label] = [everything.image(place) for place in places]
        (tmp_path / "new" / label).mkdir(parents=True)
        for number, image in enumerate(images[label][:40]):
            Image.fromarray(image).resize((96, 96)).save(tmp_path / "new" / label / f"{number}.png")
    dataset = open_dataset(f"folder:{tmp_path / 'new'}")
    chosen = module.choose_recipe(dataset, CPU)
    checked = parse_recipe(chosen.fields, chosen.name)
    assert isinstance(checked, LinearProbeRecipe)
    run = train_linear_probe(resolve_linear_probe(checked, dataset, CPU), tmp_path / "run", quiet=True)
    predictor = Predictor(run.path)
    correct = [predictor(image).label == label for label in NOVEL for image in images[label][40:]]
    assert np.mean(correct) > 0.45  # chance is a third, with an uncertainty of 6 points for 300 images


def test_from_scratch_removes_the_weights_of_a_recipe():
    fields = {"model": "mixer_nano", "data": "digits", "initialization": {"weights": "run", "head": "keep"}}
    assert without_weights(fields) == {"model": "mixer_nano", "data": "digits"}
    assert without_weights({"model": "mixer_b16.goog_in1k"}) == {"model": "mixer_b16"}


@pytest.mark.parametrize("model", ["hub:owner/name", "timm:resnet18.a1_in1k", "."])
def test_from_scratch_refuses_weights_that_do_not_name_a_size(model):
    with pytest.raises(UserError, match=r"--from-scratch can't train .* without its weights: give the name of a size"):
        without_weights({"model": model})


def test_from_scratch_refuses_a_linear_probe():
    with pytest.raises(UserError, match="--from-scratch has no effect on a linear probe"):
        without_weights({"model": "mixer_b16", "linear_probe": {}})
