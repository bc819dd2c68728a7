"""The recipe that is taken where the user names none: for weights, fine-tuning; else by family and kind of data."""

from typing import Any

from mixlab.training.recipes.recipe_files import read_recipe
from mixlab.weights.source import is_pretrained
from mixlab.zoo.build import describe

_DIGITS, _IMAGES = "digits", "small_images"
_FINE_TUNING = "finetune_folder"


def default_recipe(model: str, data: str) -> tuple[str, dict[str, Any]]:
    """Its name, and its fields with `model` and `data` in their places."""
    if is_pretrained(model):
        return _FINE_TUNING, read_recipe(_FINE_TUNING) | {"model": model, "data": data}
    name = f"{_DIGITS if data == 'digits' else _IMAGES}_{_kind(model)}"
    return name, read_recipe(name) | {"model": model, "data": data}


def _kind(model: str) -> str:
    """Our families have settings of their own; of timm's models the residual networks, and one for all others."""
    described = describe(model)
    if described.family != "timm":
        return described.family
    return "resnet" if "resnet" in described.config["name"] else "vit"
