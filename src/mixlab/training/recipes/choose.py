"""What `mixlab train --data D` does where nothing else is said: by the images' size and the device, and why."""

from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from mixlab.data.dataset import Dataset, Split
from mixlab.data.image_file import UnreadableImage
from mixlab.errors import UserError
from mixlab.runs.folder import Run
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.recipe_files import read_recipe, with_local_code
from mixlab.weights.source import find_source
from mixlab.zoo.cards import Card, find_card, list_cards

SMALL = 64  # pixels
"""Published weights were trained on photographs, and what is no larger shows little of what they know."""

_FROM_SCRATCH = "convmixer_nano"  # of the three families' nano sizes the best on the digits (docs/log.md)
_FINE_TUNING = "finetune_folder"
_SAMPLED = 9  # images


@dataclass(frozen=True)
class ChosenRecipe:
    """A recipe's name and its fields, as `read_recipe` gives them, and one or two sentences for the user."""

    name: str
    fields: dict[str, Any]
    why: str


def choose_recipe(dataset: Dataset, device: torch.device) -> ChosenRecipe:
    """Fetches the weights that it names, where they are not here. Raises UserError where they can't be had."""
    side = median_short_side(dataset.splits["train"])
    if side <= SMALL:
        why = f"The images have {side} pixels a side, and published weights are for larger ones."
        return _from_scratch(dataset, why)
    taken = best_accuracy_per_mac()
    try:
        find_source(taken.name)
    except UserError as error:
        raise UserError(f"{error} Or train without published weights: --from-scratch.") from error
    weights = f"{taken.name} ({_top1(taken):.1f} % on ImageNet for {taken.macs / 1e9:.2g} billion MACs an image)"
    given = {"model": taken.name, "data": dataset.name}
    if device.type == "cpu":
        why = (
            f"On a processor a head in closed form is fitted to what {weights} sees: every image goes through it "
            "once, where a single epoch of fine-tuning costs about three times as much."
        )
        return ChosenRecipe("linear_probe", given | {"linear_probe": {}}, why)
    return ChosenRecipe(_FINE_TUNING, read_recipe(_FINE_TUNING) | given, f"On a GPU all of {weights} is fine-tuned.")


def from_scratch_recipe(dataset: Dataset) -> ChosenRecipe:
    """Where published weights are not wanted, or not to be had."""
    return _from_scratch(dataset, "Without published weights:")


def best_accuracy_per_mac(pattern: str = "*") -> Card:
    """Of the published ImageNet-1k weights that `list_cards` has so, those with the most accuracy for their MACs."""
    able = [card for card in list_cards(pattern) if card.labels == "imagenet-1k" and _top1(card) > 0]
    return max(able, key=lambda card: _top1(card) / card.macs)


def median_short_side(split: Split) -> int:
    """Pixels: the median of a few images' shorter sides. Raises UnreadableImage where none can be read."""
    sides, failed = [], []
    for index in np.linspace(0, len(split) - 1, _SAMPLED).astype(int):
        try:
            sides.append(min(split.image(index).shape[:2]))
        except UnreadableImage as error:
            failed.append(error)
    if not sides:
        raise failed[0]
    return round(median(sides))


def _from_scratch(dataset: Dataset, why: str) -> ChosenRecipe:
    name, fields = default_recipe(_FROM_SCRATCH, dataset.name)
    return ChosenRecipe(name, fields, f"{why} {_FROM_SCRATCH} is trained from scratch with the recipe {name}.")


def _top1(card: Card) -> float:
    """Per cent on ImageNet-1k, as its authors have it; 0 where nobody has a number."""
    return next((expected.value for expected in card.expected if expected.what == "top1"), 0.0)


def requested_recipe(
    recipe: str | None, model: str | None, data: str | None, resumed: Run | None
) -> tuple[str, dict[str, Any]]:
    """The name and the fields of a recipe that was given, of the run that is resumed, or of the default for a model.

    Raises UserError where none of them is given.
    """
    if recipe is not None:
        return recipe, read_recipe(recipe)
    if resumed is not None:
        return str(resumed.path / "recipe.toml"), with_local_code(resumed.recipe, resumed.path)
    if model is not None and data is not None:
        return default_recipe(model, data)
    raise UserError("mixlab train needs data: give --data, such as digits or folder:PATH, or a RECIPE that names them.")


def without_weights(model: str) -> str:
    """The size of published weights; other models as they are."""
    card = find_card(model)
    return card.size if card else model
