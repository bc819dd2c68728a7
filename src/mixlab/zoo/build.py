"""From a name to a model with fresh weights."""

from ast import literal_eval
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from mixlab.errors import UserError, did_you_mean
from mixlab.measure.macs import count_macs
from mixlab.models.contract import ImageSize, height_and_width
from mixlab.models.convmixer import ConvMixer, ConvMixerConfig
from mixlab.models.davit import DaViT, DaViTConfig
from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.zoo.sizes import find_size
from mixlab.zoo.timm_models import TimmConfig, TimmModel, default_image_size, from_timm_names, timm_config_fields

Model = Mixer | ConvMixer | DaViT | TimmModel

_FAMILIES = {
    "mixer": (MixerConfig, Mixer),
    "convmixer": (ConvMixerConfig, ConvMixer),
    "davit": (DaViTConfig, DaViT),
    "timm": (TimmConfig, TimmModel),
}


@dataclass(frozen=True, slots=True)
class Description:
    """What a name stands for, before anything is built."""

    name: str
    family: str  # "mixer", "convmixer", "davit" or "timm"
    config: Mapping[str, Any]

    @property
    def image_size(self) -> ImageSize:
        size = self.config["image_size"]
        return tuple(size) if isinstance(size, list) else size


def create_model(name: str, **config_fields: Any) -> Model:
    """The model `name` with fresh weights; `config_fields` take the place of its config's own."""
    description = describe(name)
    return build(description.family, {**description.config, **config_fields})


def describe(name: str) -> Description:
    """`name` is one of `list_models()`, or timm:NAME with fields appended (timm:vit_tiny_patch16_224:patch_size=4)."""
    if not name.startswith("timm:"):
        size = find_size(name)
        return Description(name, size.family, size.config)
    _, timm_name, *assignments = name.split(":")
    config = {"name": timm_name, "image_size": default_image_size(timm_name)}
    return Description(name, "timm", config | from_timm_names(dict(map(parse_assignment, assignments))))


def build(family: str, config: Mapping[str, Any]) -> Model:
    """The model of `family` with this config, whose values may come from TOML or JSON."""
    _, model_class = _FAMILIES[family]
    return model_class(make_config(family, config))


def make_config(family: str, config: Mapping[str, Any]) -> Any:
    """The config of a model of `family`, complete and checked. Raises UserError."""
    if family == "timm":
        config = timm_config_fields(config)
    config_class, model_class = _FAMILIES[family]
    types = get_type_hints(config_class)
    for field in config:
        if field not in types:
            raise UserError(
                f'"{field}" is no field of a {model_class.__name__}: its fields are {", ".join(types)}. '
                f"{did_you_mean(field, types)}".rstrip()
            )
    return config_class(**{field: _fitted(field, value, types[field]) for field, value in config.items()})


def _fitted(field: str, value: Any, annotation: Any) -> Any:
    """`value` as `annotation` has it: a list of TOML becomes a tuple, and a word where a number belongs is refused."""
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{field}={value!r} does not fit: {error.errors()[0]['msg']}.") from error


def macs_of(model: Model) -> int:
    """Of one image of the size that the model is built for, forward."""
    return count_macs(model, (model.config.image_channels, *height_and_width(model.config.image_size)))


def parse_assignment(assignment: str) -> tuple[str, Any]:
    """ "depth=3" as ("depth", 3): numbers, lists and true or false are read as such, anything else as a word."""
    field, equals, text = assignment.partition("=")
    if not equals:
        raise UserError(f'"{assignment}" assigns nothing: give each field as field=value, such as img_size=32.')
    words = {"true": True, "false": False}
    try:
        return field, words[text] if text in words else literal_eval(text)
    except (SyntaxError, ValueError):
        return field, text
