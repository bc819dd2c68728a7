"""Which permutations the weights of a model can undo."""

import copy
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.data.transforms import Transform
from mixlab.studies.symmetry import Symmetry, axes_of, growth_steps, matched_weights, patch_size_of, symmetries
from mixlab.training.job import Job, resolve
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.zoo.architecture import architecture, create_model
from mixlab.zoo.user_code import trust_code

CPU = torch.device("cpu")
VIT = "timm:plain_vit:img_size=8:patch_size=2:embed_dim=16:depth=1:num_heads=2:positions="
CLASS_TOKEN = "timm:vit_tiny_patch16_224:img_size=8:patch_size=2:embed_dim=16:depth=1:num_heads=2"
MIXER = {"patch_size": 2, "channels": 16, "token_hidden": 16, "channel_hidden": 16, "depth": 2}
METAFORMER = {"patch_size": 2, "channels": 16, "token_hidden": 16, "channel_hidden": 16, "depths": (1,)}
PYRAMID = METAFORMER | {"patch_size": 4, "mixing": "token-mlp", "shape": "pyramid", "depths": (1, 1, 1)}
UNTIED = MIXER | {"token_weights": "per-channel", "channel_weights": "per-patch"}
MODELS = {
    "mixer": ("mixer_nano", MIXER | {"stochastic_depth": 0.3}),
    "convmixer": ("convmixer_nano", {"patch_size": 2, "channels": 8, "kernel_size": 3, "depth": 2}),
    "kernel of the whole grid": ("convmixer_nano", {"patch_size": 2, "channels": 8, "kernel_size": 7, "depth": 1}),
    "davit": ("davit_nano", {"channels": (8, 16), "depths": (1, 1), "heads": (1, 2), "window": 2}),
    "resnet": ("resnet_nano", {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]}),
    "learned": (f"{VIT}learned", {}),
    "sincos": (f"{VIT}sincos", {}),
    "none": (f"{VIT}none", {}),
    "class token": (CLASS_TOKEN, {}),
    "attention": ("variant:attention_mixer", MIXER),
    "pooling": ("variant:pooling_mixer", MIXER),
    "untied": ("variant:untied_mixer", UNTIED),
    "groups": ("variant:untied_mixer", UNTIED | {"token_weights": "grouped", "token_groups": 2}),
    "metaformer, token MLP": ("variant:metaformer", METAFORMER | {"mixing": "token-mlp", "position": "learned"}),
    "metaformer, attention": (
        "variant:metaformer",
        METAFORMER | {"mixing": "attention", "head_channels": 8, "position": "learned"},
    ),
    "metaformer, depthwise": ("variant:metaformer", METAFORMER | {"mixing": "depthwise", "kernel_size": 3}),
    "pyramid": ("variant:metaformer", PYRAMID),
    "linear stem": ("py:{folder}/own.py:WithLinearStem", MIXER),
    "fixed size": ("py:{folder}/own.py:OfFixedSize", MIXER),
}
OWN = """
import torch
from dataclasses import replace
from einops import rearrange
from torch import nn
from mixlab.models.mixer import Mixer, MixerConfig

class LinearStem(nn.Module):
    def __init__(self, patch_size, channels):
        super().__init__()
        self.patch_size = patch_size
        self.of_pixels = nn.Parameter(torch.rand(patch_size**2, 1))
        self.linear = nn.Linear(3 * patch_size**2, channels)

    def forward(self, images):
        side = self.patch_size
        pixels = rearrange(images, "b c (row y) (column x) -> b row column (y x) c", y=side, x=side)
        x = self.linear((self.of_pixels * pixels).flatten(-2))
        return rearrange(x, "b row column c -> b c row column")

class WithLinearStem(Mixer):
    def __init__(self, config: MixerConfig):
        super().__init__(config)
        self.stem = LinearStem(config.patch_size, config.channels)

class OfFixedSize(Mixer):
    def __init__(self, config: MixerConfig):
        super().__init__(replace(config, image_size=8))
"""


def transforms(patch_size: int) -> dict[str, Transform]:
    return {
        "patches": Transform("permute_patches", 0, patch_size),
        "pixels": Transform("permute_pixels_in_patches", 0, patch_size),
        "both": Transform("permute_patches_and_pixels", 0, patch_size),
        "all": Transform("permute_all_pixels", 0),
    }


TRANSFORMS = transforms(2)
STEPS = 6
ALL = {"patches", "pixels", "both"}
EXACT = {
    "mixer": ALL,
    "convmixer": {"pixels"},
    "kernel of the whole grid": {"pixels"},
    "davit": set(),
    "resnet": set(),
    "learned": ALL,
    "sincos": {"pixels"},
    "none": ALL,
    "class token": ALL,
    "attention": ALL,
    "pooling": ALL,
    "untied": ALL,
    "groups": ALL,
    "metaformer, token MLP": ALL,
    "metaformer, attention": ALL,
    "metaformer, depthwise": {"pixels"},
    "pyramid": {"pixels"},
    "linear stem": {"patches"},
    "fixed size": {"pixels"},
}
UNKNOWN = {
    "kernel of the whole grid": {"patches", "both"},
    "linear stem": {"pixels", "both"},
    "fixed size": {"patches", "both", "all"},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for label in ("a", "b"):
        (folder / label).mkdir()
        for number in range(20):
            pixels = random.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return open_dataset(f"folder:{folder}", quiet=True)


Found = Callable[[str], Mapping[str, Symmetry]]


def job(dataset: Dataset, model: str, image_size: int, config: Mapping[str, Any]) -> Job:
    fields = {"model": model, "data": dataset.name, "image_size": image_size, "epochs": 1, "config": config}
    recipe = parse_training_recipe(fields | {"optimizer": {"learning_rate": 0.01, "weight_decay": 0.0}}, model)
    return resolve(recipe, dataset, CPU)


def job_of(dataset: Dataset, name: str, folder: Path) -> Job:
    model, config = MODELS[name]
    if model.startswith("py:"):
        (folder / "own.py").write_text(OWN)
        trust_code(folder / "own.py")
    return job(dataset, model.format(folder=folder), 8, config)


@pytest.fixture(scope="module")
def found(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("code")
    return cache(lambda name: symmetries(job_of(dataset, name, folder), TRANSFORMS, steps=STEPS))


@pytest.mark.parametrize("name", EXACT)
def test_matched_weights_are_exact_where_the_model_is_symmetric(name, found):
    assert {kind for kind, one in found(name).items() if one.is_exact} == EXACT[name]
    for one in found(name).values():
        assert not one.matched or sorted(one.matched) == list(range(STEPS))


@pytest.mark.parametrize("name", EXACT)
def test_a_symmetry_is_broken_only_where_tied_weights_show_it(name, found):
    broken = TRANSFORMS.keys() - EXACT[name] - UNKNOWN.get(name, set())
    assert {kind for kind, one in found(name).items() if one.is_broken} == broken
    assert all((one.tied_weights is None) == (name == "fixed size") for one in found(name).values())


def test_a_mixer_of_timm_has_the_symmetry_of_a_mixer(dataset):
    mixer = job(dataset, "timm:mixer_s32_224:img_size=64:mlp_ratio=(0.01,0.01)", 64, {})
    found = symmetries(mixer, transforms(32), steps=2)
    assert {kind for kind, one in found.items() if one.is_exact} == ALL
    assert {kind for kind, one in found.items() if one.is_broken} == {"all"}


def test_only_models_without_positions_are_invariant_to_patches(found):
    for name in EXACT:
        assert {kind for kind, one in found(name).items() if one.is_invariant} == (
            {"patches"} if name in ("none", "attention", "pooling") else set()
        )
        assert all(one.same_weights > 1e-4 for kind, one in found(name).items() if kind not in ("patches",))


@pytest.mark.long
def test_a_training_of_a_hundred_steps_differs_by_rounding_errors_that_grow(dataset, tmp_path):
    for name, kinds in (("mixer", ("patches", "pixels", "both")), ("convmixer", ("pixels",))):
        found = symmetries(job_of(dataset, name, tmp_path), TRANSFORMS, steps=100)
        for kind in kinds:
            matched = found[kind].matched
            assert len(matched) == 100 and max(matched.values()) < 1e-9
            assert matched[0] < 1e-13


def test_weights_that_match_another_permutation_are_not_exact():
    torch.manual_seed(0)
    model = create_model("mixer_nano", image_size=8, **MIXER).double()
    torch.nn.init.normal_(model.get_parameter("head.weight"))
    images, other = torch.randn(2, 3, 8, 8).double(), Transform("permute_patches_and_pixels", 5, 2)
    logits = model(images)
    for transform, equal in ((TRANSFORMS["both"], True), (other, False)):
        weights = matched_weights(model, TRANSFORMS["both"], axes_of(architecture("mixer_nano", image_size=8, **MIXER)))
        assert weights is not None
        copied = copy.deepcopy(model)
        copied.load_state_dict(weights, strict=False)
        assert torch.allclose(copied(transform(images)), logits, atol=1e-12) is equal


def test_no_weights_are_known_for_all_pixels_and_for_pixels_of_patches_of_another_size():
    size = architecture("mixer_nano", image_size=8, **MIXER)
    for transform in (Transform("permute_all_pixels"), Transform("permute_patches_and_pixels", 0, 4)):
        assert matched_weights(size.build(), transform, axes_of(size)) is None


@pytest.mark.parametrize(
    ("symmetry", "kind"),
    [
        (Symmetry(0.0, {0: 0.0}, 0.0), "invariant"),
        (Symmetry(0.1, {0: 1e-12, 1: 1e-11}, 1e-15), "exact, in distribution"),
        (Symmetry(0.1, {}, 0.1), "broken"),
        (Symmetry(0.1, {0: 1e-12, 1: 1e-3}, 1e-15), "unknown"),
        (Symmetry(0.1), "unknown"),
    ],
)
def test_a_symmetry_is_broken_if_it_is_ruled_out_and_unknown_if_none_was_found(symmetry, kind):
    assert symmetry.kind == kind


def test_the_patch_size_is_that_of_the_stem():
    sizes = {"mixer_nano": 4, "convmixer_nano": 4, "davit_nano": None, "resnet_nano": None, "vit_nano": 4}
    assert {name: patch_size_of(create_model(name)) for name in sizes} == sizes


def test_the_table_shows_some_steps_and_the_last_one():
    assert growth_steps(Symmetry(0.1, dict.fromkeys(range(100), 0.0))) == [0, 1, 3, 10, 30, 99]
    assert growth_steps(Symmetry(0.1, {0: 0.0})) == [0]
