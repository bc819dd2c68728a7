"""The recipe that is taken where the user names none: for weights, fine-tuning; else by family and kind of data."""

from typing import Any

from mixlab.training.recipes.recipe_files import read_recipe
from mixlab.weights.source import is_pretrained
from mixlab.zoo.architecture import FAMILIES, architecture

_DIGITS, _IMAGES = "digits", "small_images"
_FINE_TUNING = "finetune_folder"


def default_recipe(model: str, data: str) -> tuple[str, dict[str, Any]]:
    """Its name, and its fields with `model` and `data` in their places."""
    if is_pretrained(model):
        return _FINE_TUNING, read_recipe(_FINE_TUNING) | {"model": model, "data": data}
    name = f"{_DIGITS if data == 'digits' else _IMAGES}_{_kind(model)}"
    return name, read_recipe(name) | {"model": model, "data": data}


def _kind(model: str) -> str:
    """The families have recipes of their own; of the other models residual networks have one, and all others
    another.
    """
    found = architecture(model)
    if found.family in FAMILIES:
        return found.family
    if found.family == "timm":
        return "resnet" if "resnet" in found.config["name"] else "vit"
    return "mixer"
