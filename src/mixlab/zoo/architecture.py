"""From a name to an architecture: the code that builds a model, and its complete config.

    architecture("mixer_nano", depth=2).build()      # a size, with another depth
    architecture("timm:resnet18")                    # a model of timm's
    architecture("variant:attention_mixer")          # a file of mixlab.models.variants
    architecture("py:mine.py:Mine:depth=2")          # your own; fields may be appended to every name but a size

All that builds, counts, times or estimates a model asks an `Architecture`. It is plain data, so it can be pickled.
"""

from ast import literal_eval
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError

from mixlab.errors import UserError, did_you_mean
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.models import variants
from mixlab.models.contract import ImageSize, height_and_width
from mixlab.models.convmixer import ConvMixer, ConvMixerConfig
from mixlab.models.davit import DaViT, DaViTConfig
from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.zoo import user_code
from mixlab.zoo.sizes import find_size
from mixlab.zoo.timm_models import TimmConfig, TimmModel, default_image_size, from_timm_names, timm_config_fields

Model = Mixer | ConvMixer | DaViT | TimmModel

FAMILIES = ("mixer", "convmixer", "davit")
"""The families of the papers: published weights, resizing and conversion are theirs alone."""

_BUILDERS: Mapping[str, tuple[type, Callable[[Any], Model]]] = {
    "mixer": (MixerConfig, Mixer),
    "convmixer": (ConvMixerConfig, ConvMixer),
    "davit": (DaViTConfig, DaViT),
    "timm": (TimmConfig, TimmModel),
}


@dataclass(frozen=True)
class Architecture:
    """`name` as it was given. `family` says which code builds it: "mixer", "convmixer", "davit", "timm",
    "variant:NAME" or "py:FILE.py:NAME". `config` has every field of the family's config as plain data.
    """

    name: str
    family: str
    config: Mapping[str, Any] = field(hash=False)

    def build(self) -> Model:
        """A model with fresh weights, in training mode, on the default device. Raises UserError."""
        config_class, build = _builder(self.family)
        return build(config_class(**self.config))

    def with_fields(self, **fields: Any) -> "Architecture":
        """With other values in the config. Raises UserError for unknown fields and values that do not fit."""
        return of_family(self.name, self.family, {**self.config, **fields})

    @property
    def image_size(self) -> ImageSize:
        return self.config["image_size"]

    @property
    def classes(self) -> int:
        return self.config["classes"]

    @cached_property
    def parameters(self) -> int:
        return count_parameters(self.on_meta())

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one image's forward pass."""
        return macs_of(self.on_meta())

    @property
    def code_digest(self) -> str | None:
        """Of the user's own code; None where the code is mixlab's or timm's."""
        file = self.user_file
        return None if file is None else user_code.digest_of(file)

    @property
    def user_file(self) -> Path | None:
        return Path(self.family.removeprefix("py:").rpartition(":")[0]) if self.family.startswith("py:") else None

    def on_meta(self) -> Model:
        """The model without memory: shapes alone."""
        with torch.device("meta"):
            return self.build()


def architecture(name: str, /, **fields: Any) -> Architecture:
    """The architecture called `name` (see above); `fields` take the place of its config's own. Raises UserError."""
    family, own = _parse_name(name)
    given = from_timm_names(fields) if family == "timm" else fields
    if family == "timm" and given.get("name", own["name"]) != own["name"]:
        raise UserError(f"{name} can't be built with config.name={given['name']!r}: remove it, or name that model.")
    return of_family(name, family, own | given)


def family_of(name: str) -> str:
    """The family of the architecture called `name`, whose config may still be incomplete. Raises UserError."""
    return _parse_name(name)[0]


def same_family(family: str, other: str) -> bool:
    """Whether the same code builds both; copies of user code count as the same. Raises UserError."""
    return _code_of(family) == _code_of(other)


def _code_of(family: str) -> str:
    if not family.startswith("py:"):
        return family
    file, _, name = family.removeprefix("py:").rpartition(":")
    return f"py:{user_code.digest_of(Path(file))}:{name}"


def _parse_name(name: str) -> tuple[str, dict[str, Any]]:
    """The family, and the fields of the config that the name decides."""
    kind, *rest = name.split(":")
    if kind == "timm" and rest:
        timm_name, *assignments = rest
        defaults = {"name": timm_name, "image_size": default_image_size(timm_name)}
        return "timm", defaults | from_timm_names(dict(map(parse_assignment, assignments)))
    if kind == "variant" and rest:
        variant, *assignments = rest
        return f"variant:{variant}", dict(map(parse_assignment, assignments))
    if kind == "py":
        if len(rest) < 2:
            raise UserError(f'"{name}" is incomplete: write py:FILE.py:NAME with a class or function of that file.')
        file, builder, *assignments = rest
        path = Path(file).expanduser().resolve()
        user_code.require_trusted(path)
        return f"py:{path}:{builder}", dict(map(parse_assignment, assignments))
    size = find_size(name)
    return size.family, dict(size.config)


def of_family(name: str, family: str, fields: Mapping[str, Any]) -> Architecture:
    """With the config that `fields` make, which may come from TOML or JSON. Raises UserError."""
    found = Architecture(name, family, asdict(make_config(family, fields)))
    if family == "timm":
        found.on_meta()  # timm checks its arguments only while it builds
    return found


def create_model(name: str, **config_fields: Any) -> Model:
    """The model `name` with fresh weights; `config_fields` take the place of its config's own. Raises UserError.

    `name`: one that `list_models` returns, timm:NAME, variant:NAME, or py:FILE.py:NAME for a class of your own.
    """
    trust_named_code(name)
    return architecture(name, **config_fields).build()


def trust_named_code(name: str) -> None:
    """Trust the file of a py: name that the user gave, on the command line or in Python."""
    if name.startswith("py:"):
        user_code.trust_code(name.split(":")[1])


def make_config(family: str, fields: Mapping[str, Any]) -> Any:
    """The config of a model of `family`, complete and checked. Raises UserError."""
    if family == "timm":
        fields = timm_config_fields(fields)
    config_class, _ = _builder(family)
    types = get_type_hints(config_class)
    for name in fields:
        if name not in types:
            raise UserError(
                f'"{name}" is not a field of {config_class.__name__}: its fields are {", ".join(types)}. '
                f"{did_you_mean(name, types)}".rstrip()
            )
    checked = {name: _fitted(name, value, types[name]) for name, value in fields.items()}
    try:
        return config_class(**checked)
    except TypeError as error:
        raise UserError(
            f"{family} lacks fields of its config ({error}): append them to its name, such as "
            ":patch_size=4:depth=8, or give them in a recipe's [config]."
        ) from error


def variant_names() -> list[str]:
    """The files of `mixlab.models.variants`."""
    return sorted(module.name for module in iter_modules(variants.__path__))


def macs_of(model: Model) -> int:
    """Multiply-accumulates of one image of the size that the model is built for, forward."""
    return count_macs(model, (model.config.image_channels, *height_and_width(model.config.image_size)))


def parse_assignment(assignment: str) -> tuple[str, Any]:
    """ "depth=3" as ("depth", 3): numbers, lists and true or false are parsed, anything else is a string."""
    name, equals, text = assignment.partition("=")
    if not equals:
        raise UserError(f'"{assignment}" is not an assignment: give each field as field=value, such as img_size=32.')
    words = {"true": True, "false": False}
    try:
        return name, words[text] if text in words else literal_eval(text)
    except (SyntaxError, ValueError):
        return name, text


def _builder(family: str) -> tuple[type, Callable[[Any], Model]]:
    """The config's class, and what builds a model of a config."""
    kind, _, rest = family.partition(":")
    if kind == "variant":
        build = _variant(rest)
        return user_code.config_class(build, family), build
    if kind == "py":
        file, _, name = rest.rpartition(":")
        build: Any = user_code.builder(Path(file), name)
        return user_code.config_class(build, family), build
    return _BUILDERS[family]


def _variant(name: str) -> Any:
    if name not in variant_names():
        raise UserError(
            f'There is no variant "{name}": the variants are {", ".join(variant_names())}. '
            f"{did_you_mean(name, variant_names())}".rstrip()
        )
    return getattr(import_module(f"{variants.__name__}.{name}"), name)


def _fitted(name: str, value: Any, annotation: Any) -> Any:
    """`value` converted to `annotation`, as a list of TOML to a tuple; a word in place of a number is refused."""
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{name}={value!r} is not valid: {error.errors()[0]['msg']}.") from error
