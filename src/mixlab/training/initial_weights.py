"""The weights that a recipe names: those that a training starts from, and those of its teacher.

Weights are identified by the SHA-256 of their tensors, and not by their path.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixlab.errors import UserError
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.recipes.schema import Distillation, Recipe
from mixlab.weights.load import load_pretrained
from mixlab.weights.source import is_pretrained


def weights_source(recipe: Recipe | LinearProbeRecipe) -> str | None:
    """The name of the weights that the training starts from; None for random weights.

    Raises UserError if the recipe names two.
    """
    weights = recipe.initialization.weights
    if not is_pretrained(recipe.model):
        return weights
    if weights not in (None, recipe.model, absolute(recipe.model)):
        raise UserError(
            f"model={recipe.model!r} and initialization.weights={weights!r} are different weights: remove one of them."
        )
    return recipe.model


def check_digest(source: str, digest: str, expected: str | None, section: str = "initialization") -> None:
    """Raises UserError if the SHA-256 `digest` of the weights from `source` is not the `expected` one of the recipe.

    section  of the recipe, which has the expected one
    """
    if expected not in (None, digest):
        raise UserError(
            f"{source} holds other weights than the recipe expects: their SHA-256 starts with {digest[:12]}, but "
            f"{section}.sha256 starts with {expected[:12]}. Give the weights that the recipe was made with, or "
            f"remove {section}.sha256 to use these."
        )


def with_digest(settings: Distillation) -> Distillation:
    """The settings with the path of the teacher from everywhere, and the digest of its weights."""
    digest = load_pretrained(settings.teacher).source_digest
    check_digest(settings.teacher, digest, settings.sha256, "distillation")
    return settings.model_copy(update={"teacher": absolute(settings.teacher), "sha256": digest})


def without_paths_of_weights(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored recipe without the paths of weights, which are identified by their SHA-256."""
    recipe = dict(stored)
    for section, path in (("initialization", "weights"), ("distillation", "teacher")):
        if recipe.get(section):
            recipe[section] = {key: value for key, value in recipe[section].items() if key != path}
    return recipe


def absolute(source: str) -> str:
    """The absolute path of a local file or folder; other names of weights are returned unchanged."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source
