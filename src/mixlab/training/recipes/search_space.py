"""The search space of `mixlab compare --tune`: the same settings and ranges for every model.

The points are random and independent (random search; Bergstra and Bengio, 2012), and the same for each model.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from mixlab.data.augmentation.affine import Affine
from mixlab.data.augmentation.augment import Augmentation
from mixlab.models.contract import height_and_width
from mixlab.training.recipes.schema import Recipe
from mixlab.zoo.architecture import Architecture

_LEARNING_RATE = (5e-4, 8e-3)
_WEIGHT_DECAY = (1e-2, 1.0)
_STOCHASTIC_DEPTH = (0.0, 0.2)

SEARCH_SPACE = (
    "learning rate from {:g} to {:g} and weight decay from {:g} to {:g}, both log-uniform; stochastic depth from {:g} "
    "to {:g}, if the model has it; strength of the augmentation from 0 to 1"
).format(*_LEARNING_RATE, *_WEIGHT_DECAY, *_STOCHASTIC_DEPTH)
"""The settings and their ranges, in words."""

# at strength 1
_DEGREES = 20.0
_SCALE = 0.25
_SHIFT = 0.2  # of the side
_PADDING = 1 / 4  # of the shorter side


@dataclass(frozen=True)
class Settings:
    """One point of the search space.

    learning_rate     at the peak of the schedule
    weight_decay      of the optimiser
    stochastic_depth  the drop rate of the last block; without effect on a model that does not have it, as ConvMixer
    augmentation      from 0 for none to 1: the strength of the recipe's affine transform and of its padded crop
    """

    learning_rate: float
    weight_decay: float
    stochastic_depth: float
    augmentation: float


def sample_settings(count: int, seed: int = 0) -> list[Settings]:
    """`count` random points. For a seed, a longer list begins with the shorter one."""
    rng = np.random.default_rng(seed)
    return [
        Settings(
            learning_rate=_log_uniform(*_LEARNING_RATE, rng),
            weight_decay=_log_uniform(*_WEIGHT_DECAY, rng),
            stochastic_depth=_rounded(rng.uniform(*_STOCHASTIC_DEPTH)),
            augmentation=_rounded(rng.uniform()),
        )
        for _ in range(count)
    ]


def with_settings(recipe: Recipe, settings: Settings, architecture: Architecture) -> Recipe:
    """The recipe of a model of `architecture` with these settings."""
    optimizer = {"learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay}
    field = architecture.stochastic_depth_field
    config = {} if field is None else {field: settings.stochastic_depth}
    side = min(height_and_width(architecture.image_size))
    return recipe.model_copy(
        update={
            "config": {**recipe.config, **config},
            "optimizer": recipe.optimizer.model_copy(update=optimizer),
            "augmentation": _with_strength(recipe.augmentation, settings.augmentation, side),
        }
    )


def _with_strength(augmentation: Augmentation, strength: float, side: int) -> Augmentation:
    """The affine transform and the padded crop of an augmentation at this strength, if it has them."""
    affine = Affine(
        degrees=_DEGREES * strength,
        scale=(1 - _SCALE * strength, 1 + _SCALE * strength),
        translate=_SHIFT * strength,
    )
    return replace(
        augmentation,
        affine=augmentation.affine and affine,
        pad_crop=augmentation.pad_crop and round(_PADDING * strength * side),
    )


def _log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return _rounded(math.exp(rng.uniform(math.log(low), math.log(high))))


def _rounded(value: float) -> float:
    """Two significant digits, so that the settings can be copied into a recipe."""
    return float(f"{value:.2g}")
