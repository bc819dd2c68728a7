"""The search space of the tuning: the ranges, and how settings change the recipe of each model."""

import math

import numpy as np
import pytest

from mixlab.comparison.tasks.classification import IMAGES
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Recipe
from mixlab.training.recipes.search_space import Settings, sample_settings, with_settings
from mixlab.zoo.architecture import architecture

STRONG = Settings(learning_rate=0.001, weight_decay=0.5, stochastic_depth=0.1, augmentation=1.0)
HALF = Settings(learning_rate=0.001, weight_decay=0.5, stochastic_depth=0.1, augmentation=0.5)


def tuned(model: str, settings: Settings, data: str = "digits") -> Recipe:
    name, fields = default_recipe(model, data)
    return with_settings(parse_training_recipe(fields, name), settings, architecture(model))


def test_settings_are_within_their_ranges_and_cover_them():
    settings = sample_settings(400)
    values = {name: np.array([getattr(point, name) for point in settings]) for name in vars(settings[0])}
    assert values["learning_rate"].min() == pytest.approx(5e-4, rel=0.1)
    assert values["learning_rate"].max() == pytest.approx(8e-3, rel=0.1)
    assert np.median(values["learning_rate"]) == pytest.approx(math.sqrt(5e-4 * 8e-3), rel=0.15)
    assert values["weight_decay"].min() == pytest.approx(0.01, rel=0.1)
    assert values["weight_decay"].max() == pytest.approx(1, rel=0.1)
    assert np.median(values["weight_decay"]) == pytest.approx(0.1, rel=0.3)
    for name, high in (("stochastic_depth", 0.2), ("augmentation", 1.0)):
        assert 0 <= values[name].min() < 0.01 * high + 0.01
        assert 0.97 * high < values[name].max() <= high


def test_more_trials_begin_with_the_same_settings():
    assert sample_settings(12)[:8] == sample_settings(8)
    assert len(set(sample_settings(12))) == 12


@pytest.mark.parametrize("model", IMAGES.models)
def test_the_settings_are_those_of_the_recipe(model):
    recipe = tuned(model, STRONG)
    assert recipe.optimizer.learning_rate == 0.001
    assert recipe.optimizer.weight_decay == 0.5
    affine = recipe.augmentation.affine
    assert affine is not None
    assert (affine.degrees, affine.scale, affine.translate) == (20.0, (0.75, 1.25), 0.2)


def test_half_the_strength_is_half_of_each_change():
    affine = tuned("mixer_nano", HALF).augmentation.affine
    assert affine is not None
    assert (affine.degrees, affine.scale, affine.translate) == (10.0, (0.875, 1.125), 0.1)


def test_the_strength_of_a_padded_crop_depends_on_the_image_size():
    augmentation = tuned("mixer_nano", HALF, data="folder:pets").augmentation
    assert augmentation.pad_crop == 4  # 32 px / 4 / 2
    assert augmentation.flip
    assert augmentation.affine is None


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ("mixer_nano", {"stochastic_depth": 0.1}),
        ("davit_nano", {"stochastic_depth": 0.1}),
        ("convmixer_nano", {}),
        ("resnet_nano", {"drop_path_rate": 0.1}),
        ("vit_nano", {"drop_path_rate": 0.1}),
    ],
)
def test_stochastic_depth_is_a_field_of_the_config_of_models_that_have_it(model, config):
    recipe = tuned(model, STRONG)
    assert recipe.config == config
    architecture(model, **recipe.config).on_meta()
