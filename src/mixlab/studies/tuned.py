"""The settings that `mixlab compare --tune` found for the models of a study, with equal trials of each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlab.errors import UserError
from mixlab.report.text import join_words, pluralize
from mixlab.studies.arms import Arms
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Recipe
from mixlab.training.recipes.search_space import Settings, with_settings
from mixlab.zoo.architecture import architecture


@dataclass(frozen=True)
class Tuned:
    """The result of a comparison with --tune.

    folder  of the comparison
    data    on whose training images the trials were evaluated
    trials  of each model
    best    the settings of the best trial, by model
    """

    folder: Path
    data: str
    trials: int
    best: Mapping[str, Settings]

    @property
    def note(self) -> str:
        return (
            f"The settings of every recipe are the best of {pluralize(self.trials, 'trial')} of its model on training "
            f"images of {self.data} (mixlab compare --tune)."
        )

    def applied(self, arms: Arms) -> Arms:
        """The arms with these settings, except for linear probes and trainings from weights of other arms.

        Raises UserError if a model was not tuned, or if the study itself changes settings that are tuned.
        """
        return {name: [self._tuned(recipe) for recipe in recipes] for name, recipes in arms.items()}

    def _tuned(self, recipe: Recipe | LinearProbeRecipe) -> Recipe | LinearProbeRecipe:
        if isinstance(recipe, LinearProbeRecipe) or recipe.initialization.weights is not None:
            return recipe
        if recipe.model not in self.best:
            raise UserError(
                f"{recipe.model} was not tuned in {self.folder}, which has settings for {join_words(list(self.best))}: "
                "run `mixlab compare --tune` with all models of the study."
            )
        name, fields = default_recipe(recipe.model, recipe.data)
        default = parse_training_recipe(fields, name)
        if (recipe.optimizer, recipe.augmentation) != (default.optimizer, default.augmentation):
            raise UserError(
                f"--tuned can't be used with a study that changes the optimizer or the augmentation of {recipe.model} "
                "itself: leave it out."
            )
        size = {} if recipe.image_size is None else {"image_size": recipe.image_size}
        return with_settings(recipe, self.best[recipe.model], architecture(recipe.model, **recipe.config, **size))


def read_tuned(folder: Path) -> Tuned:
    """The settings in the folder of a comparison. Raises UserError if there are none."""
    try:
        results: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        tuning = results["tuning"]
        best = {model: Settings(**found["trials"][found["best"]]["settings"]) for model, found in tuning.items()}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"--tuned {folder} is not the result of a comparison with tuned settings: give the folder that "
            "`mixlab compare --tune TRIALS --out FOLDER` has written."
        ) from error
    trials = len(next(iter(tuning.values()))["trials"])
    return Tuned(folder, results["data"]["name"], trials, best)
