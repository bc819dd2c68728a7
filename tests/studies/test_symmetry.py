"""Which permutations the weights of a model can undo."""

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.data.transforms import Transform
from mixlab.studies.symmetry import Symmetry, growth_steps, matched_weights, patch_size_of, symmetries
from mixlab.training.job import Job, resolve
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.zoo.architecture import create_model

CPU = torch.device("cpu")
VIT = "timm:plain_vit:img_size=8:patch_size=4:embed_dim=8:depth=2:num_heads=2:positions="
MIXER = {"patch_size": 4, "channels": 8, "token_hidden": 8, "channel_hidden": 16, "depth": 2, "stochastic_depth": 0.3}
MODELS = {
    "mixer": ("mixer_nano", MIXER),
    "convmixer": ("convmixer_nano", {"patch_size": 4, "channels": 8, "kernel_size": 3, "depth": 2}),
    "davit": ("davit_nano", {"channels": (8, 16), "depths": (1, 1), "heads": (1, 2), "window": 2}),
    "resnet": ("resnet_nano", {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]}),
    "learned": (f"{VIT}learned", {}),
    "sincos": (f"{VIT}sincos", {}),
    "none": (f"{VIT}none", {}),
    "attention": ("variant:attention_mixer", MIXER),
}
TRANSFORMS = {
    "patches": Transform("permute_patches", 0, 4),
    "pixels": Transform("permute_pixels_in_patches", 0, 4),
    "both": Transform("permute_patches_and_pixels", 0, 4),
    "all": Transform("permute_all_pixels", 0),
}
EXACT = {
    "mixer": {"patches", "pixels", "both"},
    "convmixer": {"pixels"},
    "davit": set(),
    "resnet": set(),
    "learned": {"patches", "pixels", "both"},
    "sincos": {"pixels"},
    "none": {"patches", "pixels", "both"},
    "attention": {"patches", "pixels", "both"},
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


def job(dataset: Dataset, name: str) -> Job:
    model, config = MODELS[name]
    fields = {"model": model, "data": dataset.name, "image_size": 8, "epochs": 1, "config": config}
    recipe = parse_training_recipe(fields | {"optimizer": {"learning_rate": 0.01, "weight_decay": 0.0}}, name)
    return resolve(recipe, dataset, CPU)


@pytest.mark.parametrize("name", EXACT)
def test_matched_weights_are_exact_where_the_model_is_symmetric(name, dataset):
    found = symmetries(job(dataset, name), TRANSFORMS, steps=12)
    assert {kind for kind, one in found.items() if one.is_exact} == EXACT[name]
    for one in found.values():
        assert not one.matched or sorted(one.matched) == list(range(12))


def test_only_models_without_positions_are_invariant_to_patches(dataset):
    for name in EXACT:
        found = symmetries(job(dataset, name), TRANSFORMS, steps=1)
        assert {kind for kind, one in found.items() if one.is_invariant} == (
            {"patches"} if name in ("none", "attention") else set()
        )
        assert all(one.same_weights > 1e-4 for kind, one in found.items() if kind not in ("patches",))


@pytest.mark.long
def test_a_training_of_a_hundred_steps_differs_by_rounding_errors_that_grow(dataset):
    for name, kinds in (("mixer", ("patches", "pixels", "both")), ("convmixer", ("pixels",))):
        found = symmetries(job(dataset, name), TRANSFORMS, steps=100)
        for kind in kinds:
            matched = found[kind].matched
            assert len(matched) == 100 and max(matched.values()) < 1e-9
            assert matched[0] < 1e-13


def test_weights_that_match_another_permutation_are_not_exact():
    torch.manual_seed(0)
    model = create_model("mixer_nano", image_size=8, **MIXER | {"stochastic_depth": 0.0}).double()
    torch.nn.init.normal_(model.get_parameter("head.weight"))
    images, other = torch.randn(2, 3, 8, 8).double(), Transform("permute_patches_and_pixels", 5, 4)
    logits = model(images)
    for transform, equal in ((TRANSFORMS["both"], True), (other, False)):
        state = matched_weights(model, TRANSFORMS["both"], patches=4)
        assert state is not None
        copy = create_model("mixer_nano", image_size=8, **MIXER | {"stochastic_depth": 0.0}).double()
        copy.load_state_dict(state)
        assert torch.allclose(copy(transform(images)), logits, atol=1e-12) is equal


def test_the_patch_size_is_that_of_the_stem():
    sizes = {"mixer_nano": 4, "convmixer_nano": 4, "davit_nano": None, "resnet_nano": None, "vit_nano": 4}
    assert {name: patch_size_of(create_model(name)) for name in sizes} == sizes


def test_the_table_shows_some_steps_and_the_last_one():
    assert growth_steps(Symmetry(0.1, dict.fromkeys(range(100), 0.0))) == [0, 1, 3, 10, 30, 99]
    assert growth_steps(Symmetry(0.1, {0: 0.0})) == [0]
