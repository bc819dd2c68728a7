"""The images that a training leaves out, for studies that choose something on them, and for pilots."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from mixlab.data.dataset import Dataset
from mixlab.data.folds import training_folds
from mixlab.data.subset import subset
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.recipes.schema import Recipe


def left_out_as_test(dataset: Dataset, recipe: Recipe | LinearProbeRecipe) -> Dataset:
    """The classes of a recipe, with the fold that it leaves out as the test split, and the other folds as train.

    dataset  the data of the recipe, as they are opened
    """
    settings = recipe.subset
    assert settings is not None and settings.folds is not None and settings.left_out_fold is not None
    dataset = dataset.merge_validation() if _merges_validation(recipe) else dataset
    return fold_as_test(dataset, settings.folds, settings.left_out_fold, settings.classes)


@lru_cache(maxsize=32)
def fold_as_test(dataset: Dataset, folds: int, fold: int, classes: tuple[str, ...] | None = None) -> Dataset:
    """A fold of the training images as the test split, and the other folds as train.

    classes  those to which `dataset` is restricted before it is divided; None: all

    The last results are kept, because repetitions with their own classes alternate.
    """
    if classes is not None:
        dataset = subset(dataset, classes=classes, seed=0)
    divided = training_folds(dataset, folds)
    images, is_left_out = divided.images.split, divided.fold_of == fold
    parts = {"train": images.subset(np.flatnonzero(~is_left_out)), "test": images.subset(np.flatnonzero(is_left_out))}
    return replace(dataset, splits={**dataset.splits, **parts})


def _merges_validation(recipe: Recipe | LinearProbeRecipe) -> bool:
    if isinstance(recipe, LinearProbeRecipe):
        return recipe.validation_share is not None
    return recipe.validation == "merged"
