"""From a name to an architecture: the code that builds a model, and its complete config.

    architecture("mixer_nano", depth=2).build()      # a size, with another depth
    architecture("timm:resnet18")                    # a timm model
    architecture("papers:pvt_small")                 # a model of the papers' tables from another library
    architecture("variant:attention_mixer")          # a variant from mixlab.models.variants
    architecture("py:mine.py:Mine:depth=2")          # your own model

Fields can be appended as :field=value to every name except a size. An `Architecture` is plain data, so it can be
pickled.
"""

from ast import literal_eval
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import import_module
from math import prod
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, get_type_hints

import torch
from jaxtyping import Float
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from mixlab.errors import UserError, did_you_mean
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.models import variants
from mixlab.models.contract import ImageSize, input_dtype, input_shape
from mixlab.models.convmixer import ConvMixer, ConvMixerConfig
from mixlab.models.davit import DaViT, DaViTConfig
from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.models.segmenter import DecoderName, Segmenter, SegmenterConfig
from mixlab.zoo import user_code
from mixlab.zoo.code_names import split_name
from mixlab.zoo.library_models import LibraryConfig, LibraryModel
from mixlab.zoo.segmenters import segmenter
from mixlab.zoo.sizes import find_size
from mixlab.zoo.timm_models import (
    TimmConfig,
    TimmModel,
    constructor_fields,
    default_image_size,
    from_timm_names,
    timm_config_fields,
)

Model = Mixer | ConvMixer | DaViT | TimmModel

FAMILIES = ("mixer", "convmixer", "davit")
"""The families of the papers. Published weights, resizing and conversion are available for these only."""

STOCHASTIC_DEPTH_FIELDS = ("stochastic_depth", "drop_path_rate")
"""The names of the config field of the rate of stochastic depth, in mixlab and in timm."""

_BUILDERS: Mapping[str, tuple[type, Callable[[Any], Any]]] = {  # a LibraryModel is no Model: it only has `forward`
    "mixer": (MixerConfig, Mixer),
    "convmixer": (ConvMixerConfig, ConvMixer),
    "davit": (DaViTConfig, DaViT),
    "timm": (TimmConfig, TimmModel),
    "papers": (LibraryConfig, LibraryModel),
}


@dataclass(frozen=True)
class Architecture:
    """A model architecture: the code that builds it, and its config.

    name    as given by the user
    family  the code that builds the model: "mixer", "convmixer", "davit", "timm", "papers", "variant:NAME" or
            "py:FILE.py:NAME"
    config  every field of the family's config, as plain data
    """

    name: str
    family: str
    config: Mapping[str, Any] = field(hash=False)

    def build(self) -> Model:
        """A model with random weights, in training mode, on the default device. Raises UserError."""
        config_class, build = _builder(self.family)
        config = config_class(**self.config)
        return build(config) if self.user_file is None else user_code.build(build, config, self.family)

    def with_fields(self, **fields: Any) -> "Architecture":
        """This architecture with other config values. Raises UserError for unknown fields and invalid values."""
        return of_family(self.name, self.family, {**self.config, **fields})

    @property
    def image_size(self) -> ImageSize:
        """Pixels. Raises UserError for a network that reads texts."""
        if self.reads_texts:
            raise UserError(f"{self.name} reads texts, but this needs a model for images: give another model.")
        return self.config["image_size"]

    @property
    def reads_texts(self) -> bool:
        """Whether the inputs are hashed texts (`mixlab.models.hashed_tokens`) and not images."""
        return "tokens" in self.config

    @property
    def classes(self) -> int:
        return self.config["classes"]

    @cached_property
    def parameters(self) -> int:
        return count_parameters(self.on_meta())

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass of one image."""
        return macs_of(self.on_meta())

    @property
    def stochastic_depth_field(self) -> str | None:
        """The config field of the rate of stochastic depth, by its name in mixlab or timm; None without it."""
        names = constructor_fields(self.config["name"]) if self.family == "timm" else self.config
        return next((name for name in STOCHASTIC_DEPTH_FIELDS if name in names), None)

    @property
    def code_digest(self) -> str | None:
        """The digest of user code; None for models of mixlab and timm."""
        file = self.user_file
        return None if file is None else user_code.digest_of(file)

    @property
    def user_file(self) -> Path | None:
        return Path(self.family.removeprefix("py:").rpartition(":")[0]) if self.family.startswith("py:") else None

    def on_meta(self) -> Model:
        """The model on the meta device, with shapes but without data."""
        with torch.device("meta"):
            return self.build()


def architecture(name: str, /, **fields: Any) -> Architecture:
    """The architecture with this name (see above); `fields` override its config. Raises UserError."""
    family, own = _parse_name(name)
    given = from_timm_names(fields) if family == "timm" else fields
    if family == "timm" and given.get("name", own["name"]) != own["name"]:
        other = given["name"]
        raise UserError(f"{name} can't be built with config.name={other!r}: remove it, or use timm:{other}.")
    return of_family(name, family, own | given)


def family_of(name: str) -> str:
    """The family of the architecture `name`. Its config may still be incomplete. Raises UserError."""
    return _parse_name(name)[0]


def same_family(family: str, other: str) -> bool:
    """Whether the same code builds both families; copies of user code are the same code. Raises UserError."""
    return _code_of(family) == _code_of(other)


def _code_of(family: str) -> str:
    if not family.startswith("py:"):
        return family
    file, _, name = family.removeprefix("py:").rpartition(":")
    return f"py:{user_code.digest_of(Path(file))}:{name}"


def _parse_name(name: str) -> tuple[str, dict[str, Any]]:
    """The family, and the config fields that the name contains."""
    kind, *rest = name.split(":")
    if kind == "timm" and rest:
        timm_name, *assignments = rest
        defaults = {"name": timm_name, "image_size": default_image_size(timm_name)}
        return "timm", defaults | from_timm_names(dict(map(parse_assignment, assignments)))
    if kind == "papers" and rest:
        library_name, *assignments = rest
        return "papers", {"name": library_name} | dict(map(parse_assignment, assignments))
    if kind == "variant" and rest:
        variant, *assignments = rest
        return f"variant:{variant}", dict(map(parse_assignment, assignments))
    if kind == "py":
        file, named = split_name(name)
        if not named:
            raise UserError(f'"{name}" is incomplete: write py:FILE.py:NAME with a class or function of that file.')
        builder, *assignments = named
        path = Path(file).expanduser().resolve()
        user_code.require_trusted(path)
        return f"py:{path}:{builder}", dict(map(parse_assignment, assignments))
    size = find_size(name)
    return size.family, dict(size.config)


def of_family(name: str, family: str, fields: Mapping[str, Any]) -> Architecture:
    """An architecture with the config fields `fields`, which may come from TOML or JSON. Raises UserError."""
    found = Architecture(name, family, asdict(make_config(family, fields)))
    if family in ("timm", "papers", "segmenter"):
        found.on_meta()  # the arguments are checked only when a model is built
    if found.user_file is not None:
        user_code.require_anatomy(found.on_meta(), family)
    return found


def with_decoder(backbone: Architecture, decoder: DecoderName, width: int, classes: int) -> Architecture:
    """The architecture of a segmenter on the feature maps of `backbone`.

    A DaViT gets a norm for each of its maps, as in its authors' segmentation. Raises UserError for user code.
    """
    if backbone.user_file is not None:
        raise UserError(f"{backbone.name} is user code, which can't be segmented with: use a model of mixlab or timm.")
    norms = {"head_order": "norms-pool"} if backbone.family == "davit" else {}
    config = dict(backbone.with_fields(classes=0, **norms).config)
    fields = {"image_size": config["image_size"], "image_channels": config["image_channels"], "classes": classes}
    fields |= {"backbone": backbone.family, "backbone_config": config, "decoder": decoder, "width": width}
    return of_family(backbone.name, "segmenter", fields)


def _build_segmenter(config: SegmenterConfig) -> Segmenter:
    backbone = of_family(config.backbone, config.backbone, config.backbone_config)
    return segmenter(config, backbone.build(), backbone.on_meta())


def create_model(name: str, **config_fields: Any) -> Model:
    """The model `name` with random weights; `config_fields` override its config. Raises UserError.

    `name`: a name that `list_models` returns, timm:NAME, variant:NAME, or py:FILE.py:NAME for your own code.
    """
    trust_named_code(name)
    return architecture(name, **config_fields).build()


def trust_named_code(name: str) -> None:
    """Trust the file of a py: name that the user gave, on the command line or in Python."""
    if name.startswith("py:"):
        user_code.trust_code(split_name(name)[0])


def make_config(family: str, fields: Mapping[str, Any]) -> Any:
    """The complete, validated config of a model of `family`. Raises UserError."""
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
    checked = {name: _convert(name, value, types[name]) for name, value in fields.items()}
    try:
        return config_class(**checked)
    except TypeError as error:
        raise UserError(
            f"{family} lacks fields of its config ({error}): append them to its name, such as "
            ":patch_size=4:depth=8, or give them in a recipe's [config]."
        ) from error


def config_fields(name: str) -> list[str]:
    """The fields of the config of the architecture `name`. Raises UserError."""
    return list(get_type_hints(_builder(family_of(name))[0]))


def variant_names() -> list[str]:
    """The sorted names of all variants: the modules of `mixlab.models.variants`."""
    return sorted(module.name for module in iter_modules(variants.__path__))


def macs_of(model: Model) -> int:
    """Multiply-accumulates of the forward pass of one image, at the image size in the config of `model`."""
    return count_macs(model, input_shape(model.config), input_dtype(model.config))


class Embed(nn.Module):
    """A model without its head: maps images to their embeddings."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch channel"]:
        return self.model.embed(images)


def embed_and_classify(
    model: Model, images: Float[Tensor, "batch image_channel height width"]
) -> tuple[Float[Tensor, "batch channel"], Float[Tensor, "batch class"]]:
    """The embeddings and the logits of images, with one pass through the network."""
    if isinstance(model, TimmModel):
        return model.embed_and_classify(images)
    embeddings = model.embed(images)
    return embeddings, model.head(embeddings)


def classifies_embeddings(model: Model) -> bool:
    """Whether `embed_and_classify` returns the logits of `model`, which is in evaluation mode.

    True for the families of the papers. User code, and a few models of timm, may compute their logits in another way.
    """
    if not (isinstance(model, TimmModel) or (hasattr(model, "embed") and hasattr(model, "head"))):
        return False
    shape = (1, *input_shape(model.config))
    images = torch.linspace(-1, 1, prod(shape), device=next(model.parameters()).device).reshape(shape)
    with torch.inference_mode():
        return torch.allclose(embed_and_classify(model, images)[1], model(images), rtol=1e-4, atol=1e-5)


def parse_assignment(assignment: str) -> tuple[str, Any]:
    """Parse "depth=3" to ("depth", 3). Numbers, lists, true and false are parsed; other values are strings."""
    name, equals, text = assignment.partition("=")
    if not equals:
        raise UserError(f'"{assignment}" is not an assignment: give each field as field=value, such as img_size=32.')
    words = {"true": True, "false": False}
    try:
        return name, words[text] if text in words else literal_eval(text)
    except (SyntaxError, ValueError):
        return name, text


def _builder(family: str) -> tuple[type, Callable[[Any], Any]]:
    """The config class, and a function that builds a model from a config."""
    if family == "segmenter":
        return SegmenterConfig, _build_segmenter
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


def _convert(name: str, value: Any, annotation: Any) -> Any:
    """Convert `value` to the type `annotation`, for example a list from TOML to a tuple. Raises UserError."""
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{name}={value!r} is not valid: {error.errors()[0]['msg']}.") from error
