"""What `mixlab train --data D` does where nothing else is said: by the images' size and the device, and why."""

from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from mixlab.data.dataset import Dataset, Part
from mixlab.data.image_file import UnreadableImage
from mixlab.errors import UserError
from mixlab.training.recipes.defaults import usual_recipe
from mixlab.training.recipes.recipe_files import read_recipe
from mixlab.weights.source import find_source
from mixlab.zoo.cards import Card, list_cards

SMALL = 64  # pixels
"""Published weights were trained on photographs, and what is no larger shows little of what they know."""

_FROM_SCRATCH = "convmixer_nano"  # of the three families' nano sizes the best on the digits (docs/log.md)
_FINE_TUNING = "finetune_folder"
_LOOKED_AT = 9  # images


@dataclass(frozen=True)
class FirstAnswer:
    """A recipe's name and its fields, as `read_recipe` gives them, and one or two sentences for the user."""

    name: str
    fields: dict[str, Any]
    why: str


def first_answer(dataset: Dataset, device: torch.device) -> FirstAnswer:
    """Fetches the weights that it names, where they are not here. Raises UserError where they can't be had."""
    side = typical_side(dataset.parts["train"])
    if side <= SMALL:
        why = f"The images have {side} pixels a side, and published weights are for larger ones."
        return _from_scratch(dataset, why)
    taken = best_value()
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
        return FirstAnswer("head", given | {"head": {}}, why)
    return FirstAnswer(_FINE_TUNING, read_recipe(_FINE_TUNING) | given, f"On a GPU all of {weights} is fine-tuned.")


def from_scratch(dataset: Dataset) -> FirstAnswer:
    """Where published weights are not wanted, or not to be had."""
    return _from_scratch(dataset, "Without published weights:")


def best_value(pattern: str = "*") -> Card:
    """Of the published ImageNet-1k weights that `list_cards` has so, those with the most accuracy for their MACs."""
    able = [card for card in list_cards(pattern) if card.labels == "imagenet-1k" and _top1(card) > 0]
    return max(able, key=lambda card: _top1(card) / card.macs)


def typical_side(part: Part) -> int:
    """Pixels: the median of a few images' shorter sides. Raises UnreadableImage where none can be read."""
    sides, failed = [], []
    for index in np.linspace(0, len(part) - 1, _LOOKED_AT).astype(int):
        try:
            sides.append(min(part.image(index).shape[:2]))
        except UnreadableImage as error:
            failed.append(error)
    if not sides:
        raise failed[0]
    return round(median(sides))


def _from_scratch(dataset: Dataset, why: str) -> FirstAnswer:
    name, fields = usual_recipe(_FROM_SCRATCH, dataset.name)
    return FirstAnswer(name, fields, f"{why} {_FROM_SCRATCH} is trained from scratch with the recipe {name}.")


def _top1(card: Card) -> float:
    """Per cent on ImageNet-1k, as its authors have it; 0 where nobody has a number."""
    return next((expected.value for expected in card.expected if expected.what == "top1"), 0.0)
