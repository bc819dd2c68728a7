"""Trainings from random weights on at most a number of images, shared by studies of models."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from mixlab.data.dataset import Dataset
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Recipe

_NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


class Budget(Protocol):
    """The settings of a study that all of its trainings have.

    images      maximum training images, balanced by class; each seed draws its own
    image_size  pixels of a side
    """

    @property
    def images(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def image_size(self) -> int: ...


def from_scratch(
    model: str,
    dataset: Dataset,
    settings: Budget,
    seed: int,
    *,
    recipe_of: str | None = None,
    config: Mapping[str, Any] = _NO_FIELDS,
    **fields: Any,
) -> Recipe:
    """The default recipe of `model`, with the validation images among the training images.

    recipe_of  the model whose default recipe it is, such as the original of a changed block; by default `model` itself
    config     fields of the model, in addition to those of the recipe
    fields     of the recipe, in place of its own

    Raises UserError.
    """
    name, recipe = default_recipe(model, dataset.name, recipe_of)
    recipe.pop("expected", None)  # of the whole recipe on all images
    recipe |= {"seed": seed, "validation": "merged", "config": recipe.get("config", {}) | {**config}}
    recipe |= {"epochs": settings.epochs, "image_size": settings.image_size}
    per_class = _per_class(dataset, settings.images)
    if per_class is not None:
        recipe["subset"] = {"per_class": per_class, "seed": seed}
    return parse_training_recipe(recipe | fields, name)


def chance(dataset: Dataset) -> float:
    """The accuracy in per cent of always answering with the most frequent class of the test images."""
    labels = dataset.splits["test"].labels
    return 100 * float(np.bincount(labels).max() / len(labels))


def _per_class(dataset: Dataset, images: int) -> int | None:
    """The images of each class to train on; None if there are not more."""
    counts = sum(
        np.bincount(dataset.splits[name].labels, minlength=len(dataset.classes))
        for name in ("train", "validation")
        if name in dataset.splits
    )
    per_class = max(images // len(dataset.classes), 1)
    return per_class if np.max(counts) > per_class else None
