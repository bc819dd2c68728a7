"""Default recipes: fine-tuning for pretrained weights, else a recipe for the model's family and the dataset."""

from typing import Any

from mixlab.data.sources import SOUND_KINDS
from mixlab.training.recipes.recipe_files import read_recipe
from mixlab.weights.source import is_pretrained
from mixlab.zoo.architecture import FAMILIES, STOCHASTIC_DEPTH_FIELDS, architecture, config_fields, family_of

_DIGITS, _SOUNDS, _IMAGES, _TEXTS = "digits", "sounds", "small_images", "texts"
_FINE_TUNING = "finetune_folder"


def default_recipe(model: str, data: str, recipe_of: str | None = None) -> tuple[str, dict[str, Any]]:
    """The name of the default recipe for a model and a dataset, and its fields with `model` and `data` filled in.

    recipe_of  the model whose recipe `model` gets, such as the original of a changed block; by default `model` itself
    """
    if is_pretrained(model):
        fields = read_recipe(_FINE_TUNING) | {"model": model, "data": data}
        if _of_data(data) == _SOUNDS:  # no flips and crops
            fields["augmentation"] = read_recipe(f"{_SOUNDS}_mixer")["augmentation"]
        return _FINE_TUNING, fields
    name = _TEXTS if reads_texts(model) else f"{_of_data(data)}_{_kind(recipe_of or model)}"
    fields = read_recipe(name)
    if "config" in fields:
        fields["config"] = _config_of(model, fields["config"])
    return name, fields | {"model": model, "data": data}


def reads_texts(model: str) -> bool:
    """Whether the inputs of an architecture are hashed texts and not images. Raises UserError."""
    return "tokens" in config_fields(model)


def _of_data(data: str) -> str:
    """The beginning of the names of the recipes for a dataset."""
    if data == "digits":
        return _DIGITS
    return _SOUNDS if data.partition(":")[0] in SOUND_KINDS else _IMAGES


def _config_of(model: str, config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a recipe's `config` that `model` has, so that a changed block is trained like the original."""
    match family_of(model):
        case "timm":
            fields = {architecture(model).stochastic_depth_field}
        case _:
            fields = {*config_fields(model)}
    depth = next((name for name in STOCHASTIC_DEPTH_FIELDS if name in fields), None)
    renamed = {depth if name in STOCHASTIC_DEPTH_FIELDS else name: value for name, value in config.items()}
    return {name: value for name, value in renamed.items() if name is not None and name in fields}


def _kind(model: str) -> str:
    """The suffix of the recipe: "resnet" or "vit" for timm's models, and the family of others and of ablated ones.

    Other variants and user code use "mixer".
    """
    family = family_of(model)  # the fields of a variant may follow in [config]
    if family == "timm":
        return "resnet" if "resnet" in architecture(model).config["name"] else "vit"
    return next((each for each in FAMILIES if family in (each, f"variant:ablated_{each}")), "mixer")
