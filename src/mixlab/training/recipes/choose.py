"""The recipe of `mixlab train --data D` without RECIPE and --model, chosen by the size of the images and the device."""

from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from mixlab.data.dataset import Dataset, Split
from mixlab.data.decoding import has_sounds, shown_image
from mixlab.data.image_file import UnreadableImage
from mixlab.errors import UserError
from mixlab.runs.folder import Run
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.recipe_files import read_recipe, with_local_code
from mixlab.weights.source import find_source, is_pretrained
from mixlab.zoo.cards import Card, find_card, list_cards

SMALL = 64  # pixels
"""Models for images with a shorter side of at most this length are trained from scratch: published weights are trained
on photographs and transfer little to such small images."""

FROM_SCRATCH = "convmixer_nano"
"""The model for small images: the best nano size on the digits (docs/log.md)."""

FOR_TEXTS = "variant:text_mixer"

_FINE_TUNING = "finetune_folder"
_SAMPLED = 9  # images


@dataclass(frozen=True)
class ChosenRecipe:
    """The name of a recipe, its fields as from `read_recipe`, and one or two sentences on why it was chosen."""

    name: str
    fields: dict[str, Any]
    reason: str


def choose_recipe(dataset: Dataset, device: torch.device, task: str = "classification") -> ChosenRecipe:
    """The recipe for a dataset on a device.

    Small images: training from scratch. Larger images: a linear probe of published weights on a CPU, fine-tuning on a
    GPU, and for other tasks than classification, which have no linear probe. Missing weights are downloaded; raises
    UserError if that fails.
    """
    if dataset.noun == "text":
        name, fields = default_recipe(FOR_TEXTS, dataset.name)
        return ChosenRecipe(name, fields, f"{FOR_TEXTS} is trained from scratch with the recipe {name}.")
    if has_sounds(dataset.splits["train"]):
        return _from_scratch(
            dataset, "The images are spectrograms of sounds, and published weights are for photographs."
        )
    side = median_short_side(dataset.splits["train"])
    if side <= SMALL:
        reason = f"The images have a shorter side of {side} pixels, and published weights are for larger images."
        return _from_scratch(dataset, reason)
    card = best_accuracy_per_mac()
    try:
        find_source(card.name)
    except UserError as error:
        raise UserError(f"{error} Or use --from-scratch to train without published weights.") from error
    weights = f"{card.name} ({_top1(card):.1f} % on ImageNet at {card.macs / 1e9:.2g} billion MACs per image)"
    given = {"model": card.name, "data": dataset.name}
    if task == "classification" and device.type == "cpu":
        reason = (
            f"On a CPU, a linear probe is fitted to the features of {weights}: it needs one forward pass per image, "
            "about a third of the cost of a single epoch of fine-tuning."
        )
        return ChosenRecipe("linear_probe", given | {"linear_probe": {}}, reason)
    where = f"For {task}" if device.type == "cpu" else "On a GPU"
    return ChosenRecipe(_FINE_TUNING, read_recipe(_FINE_TUNING) | given, f"{where}, {weights} is fine-tuned.")


def from_scratch_recipe(dataset: Dataset) -> ChosenRecipe:
    """The recipe for a dataset without published weights."""
    if dataset.noun == "text":
        return choose_recipe(dataset, torch.device("cpu"), "text")
    return _from_scratch(dataset, "Without published weights,")


def best_accuracy_per_mac(pattern: str = "*") -> Card:
    """The card of the published ImageNet-1k weights with the highest ratio of top-1 accuracy to MACs.

    `pattern` restricts the names, as in `list_cards`.
    """
    candidates = [card for card in list_cards(pattern) if card.labels == "imagenet-1k" and _top1(card) > 0]
    return max(candidates, key=lambda card: _top1(card) / card.macs)


def median_short_side(split: Split) -> int:
    """The median of the shorter sides of a few images, in pixels. Raises UnreadableImage if none can be read."""
    sides, failed = [], []
    for index in np.linspace(0, len(split) - 1, _SAMPLED).astype(int):
        try:
            sides.append(min(shown_image(split, index).shape[:2]))
        except UnreadableImage as error:
            failed.append(error)
    if not sides:
        raise failed[0]
    return round(median(sides))


def _from_scratch(dataset: Dataset, reason: str) -> ChosenRecipe:
    name, fields = default_recipe(FROM_SCRATCH, dataset.name)
    return ChosenRecipe(name, fields, f"{reason} {FROM_SCRATCH} is trained from scratch with the recipe {name}.")


def _top1(card: Card) -> float:
    """Top-1 accuracy on ImageNet-1k in per cent as reported by the authors; 0 if it was not reported."""
    return next((expected.value for expected in card.expected if expected.metric == "top1"), 0.0)


def requested_recipe(
    recipe: str | None, model: str | None, data: str | None, resumed: Run | None
) -> tuple[str, dict[str, Any]]:
    """The name and the fields of a recipe that the user named.

    This is `recipe`, else the recipe of the `resumed` run, else the default recipe for `model` and `data`. Raises
    UserError if all are missing.
    """
    if recipe is not None:
        return recipe, read_recipe(recipe)
    if resumed is not None:
        return str(resumed.path / "recipe.toml"), with_local_code(resumed.recipe, resumed.path)
    if model is not None and data is not None:
        return default_recipe(model, data)
    raise UserError(
        "mixlab train needs data: give --data, for example digits or folder:PATH, or a RECIPE that sets data."
    )


def without_weights(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that starts from random weights: published weights are replaced by the size of the model.

    Raises UserError for a linear probe, and for weights whose name does not say the size of the model.
    """
    if "linear_probe" in fields:
        raise UserError("--from-scratch has no effect on a linear probe, which fits a head on weights: remove it.")
    card = find_card(fields["model"])
    model = card.size if card else fields["model"]
    if is_pretrained(model):
        raise UserError(
            f"--from-scratch can't train {model} without its weights: give the name of a size, such as mixer_s16, or "
            "timm:NAME without a tag."
        )
    return {key: value for key, value in fields.items() if key != "initialization"} | {"model": model}
