"""Folders for timm.create_model("local-dir:FOLDER", pretrained=True), and folders that mixlab reads as well.

timm builds a model with a function that it registers, and the arguments in config.json. Its functions for DaViT take
every size. Those for Mixer and ConvMixer set patch size, width, depth and kernel size themselves, and take no others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mixlab.data.preprocess import Preprocess
from mixlab.files import write_json
from mixlab.models.contract import height_and_width
from mixlab.weights.adapt import Weights
from mixlab.weights.formats import Format, formats
from mixlab.weights.storage.write import write_config, write_tensors
from mixlab.weights.timm_preprocess import TimmPreprocess
from mixlab.zoo.sizes import find_size
from mixlab.zoo.timm_models import UNREGISTERED, constructor_fields, import_timm

TIMM_FIELDS = ("image_size", "window", "heads")
"""Config fields that timm stores in config.json."""

TIMM_NAMES = {  # the name of a size of mixlab in timm
    "mixer_s32": "mixer_s32_224",
    "mixer_s16": "mixer_s16_224",
    "mixer_b32": "mixer_b32_224",
    "mixer_b16": "mixer_b16_224",
    "mixer_l32": "mixer_l32_224",
    "mixer_l16": "mixer_l16_224",
    "convmixer_1536_20": "convmixer_1536_20",
    "convmixer_768_32": "convmixer_768_32",
    "convmixer_1024_20": "convmixer_1024_20_ks9_p14",
    "davit_tiny": "davit_tiny",
    "davit_small": "davit_small",
    "davit_base": "davit_base",
    "davit_large": "davit_large",
    "davit_huge": "davit_huge",
    "davit_giant": "davit_giant",
}
_SIZE_FIELDS = {  # the fields that timm's functions set
    "mixer": ("patch_size", "channels", "depth"),
    "convmixer": ("patch_size", "kernel_size", "channels", "depth", "activation"),
    "davit": ("channels", "depths"),
}
_COMPUTED: Mapping[str, Mapping[str, tuple[Any, ...]]] = {  # the values of fields that timm's code can compute
    "mixer": {"gelu": ("erf",), "epsilon": (1e-6,)},
    "convmixer": {},
    "davit": {"stem_padding": ("symmetric",), "head_order": ("pool-norm", "norm-pool")},
}


@dataclass(frozen=True)
class TimmArchitecture:
    """How timm builds a model.

    `name` is a function that timm registers, and `arguments` are its arguments as JSON values. `first_conv` and
    `classifier` are timm's names of the first convolution and of the head. A model with a `fixed_input_size` is built
    for one image size.
    """

    name: str
    arguments: Mapping[str, Any]
    first_conv: str | None
    classifier: str | None
    fixed_input_size: bool = False


def timm_architecture(weights: Weights) -> TimmArchitecture | None:
    """How timm builds the model; None if timm does not have its size.

    What timm computes may still differ, as in the GELU of a Mixer: see `exact_timm_architecture`.
    """
    config = weights.config
    match weights.family:
        case "mixer" if name := _registered_name(weights):
            arguments = _mixer_arguments(config) | _channel_arguments(config)
            return TimmArchitecture(name, arguments, "stem.proj", "head", fixed_input_size=True)
        case "convmixer" if name := _registered_name(weights):
            return TimmArchitecture(name, _channel_arguments(config), "stem.0", "head")
        case "davit" if config["head_order"] != "pool":  # timm has a head without a norm only for two names
            name = _registered_name(weights)
            size = {} if name else {"embed_dims": _plain(config["channels"]), "depths": _plain(config["depths"])}
            arguments = size | _davit_arguments(config) | _channel_arguments(config)
            return TimmArchitecture(name or "davit_tiny", arguments, "stem.conv", "head.fc")
        case "timm":
            return _own_architecture(config)
        case _:
            return None


def exact_timm_architecture(weights: Weights) -> TimmArchitecture | str:
    """How timm builds a model with the same logits, or a sentence about why it can't."""
    family, config = weights.family, weights.config
    for field, computed in _COMPUTED.get(family, {}).items():
        if (value := config[field]) not in computed:
            return f"timm's code has {field}={' or '.join(map(str, computed))}, and this model has {field}={value}."
    if architecture := timm_architecture(weights):
        return architecture
    if family not in _SIZE_FIELDS:
        return "timm does not have this network."
    size = ", ".join(f"{field}={_plain(config[field])}" for field in _SIZE_FIELDS[family])
    return f"timm has no {family} with {size}, and its functions take no other size than their own."


def timm_format(weights: Weights) -> Format:
    """The names of the tensors in timm, which has different ones for each variant of a DaViT."""
    if weights.config.get("channel_attention") == "florence2":
        return formats()["timm_florence2"]
    if weights.config.get("head_order") == "norm-pool":
        return formats()["timm_davit_norm_first"]
    return formats()[f"timm_{weights.family}"]


def write_timm_folder(
    folder: Path, timm: TimmArchitecture, weights: Weights, classes: tuple[str, ...], preprocess: Preprocess
) -> None:
    """Writes model.safetensors and config.json into `folder`, which must exist; `classes` are the class names."""
    write_tensors(folder / "model.safetensors", timm_tensors(weights))
    write_json(folder / "config.json", timm_config(timm, weights, classes, preprocess))


def write_common_folder(
    folder: Path, timm: TimmArchitecture, weights: Weights, classes: tuple[str, ...], preprocess: Preprocess
) -> None:
    """Writes a model for mixlab, timm and transformers into `folder`, which must exist.

    The tensors have timm's names, and config.json has the entries of mixlab beside those of timm. mixlab reads only its
    own, so nothing is lost that timm does not store.
    """
    write_tensors(folder / "model.safetensors", timm_tensors(weights))
    write_config(
        folder,
        weights.architecture,
        classes,
        preprocess,
        other_entries=timm_config(timm, weights, classes, preprocess),
    )


def timm_tensors(weights: Weights) -> dict[str, Tensor]:
    """The tensors by their names in timm."""
    if weights.family == "timm":
        return {name.removeprefix("network."): tensor for name, tensor in weights.tensors.items()}
    return timm_format(weights).to_file_tensors(weights.tensors, weights.config)


def timm_config(
    timm: TimmArchitecture, weights: Weights, classes: tuple[str, ...], preprocess: Preprocess
) -> dict[str, Any]:
    """The content of config.json, as far as timm and transformers read it."""
    config = weights.config
    height, width = height_and_width(config["image_size"])
    return {
        "architecture": timm.name,
        "num_classes": config["classes"],
        "model_args": dict(timm.arguments),
        "label_names": list(classes),
        "pretrained_cfg": {
            "input_size": [config["image_channels"], height, width],
            "fixed_input_size": timm.fixed_input_size,
            **TimmPreprocess(preprocess).entries,
            "num_classes": config["classes"],
            "pool_size": None,
            "first_conv": timm.first_conv,
            "classifier": timm.classifier,
        },
    }


def _own_architecture(config: Mapping[str, Any]) -> TimmArchitecture | None:
    """A model of timm with the `config` of a TimmConfig; None if mixlab builds it and timm has no function for it."""
    name, arguments = config["name"], dict(config["arguments"])
    if name == "plain_vit":
        name = "vit_tiny_patch16_224"
        positions = "none" if arguments.pop("positions", None) == "none" else "learn"  # fixed ones are in the file, too
        arguments |= {"class_token": False, "global_pool": "avg", "fc_norm": False, "pos_embed": positions}
    if name in UNREGISTERED:
        return None
    if "img_size" in constructor_fields(name):
        arguments["img_size"] = _plain(config["image_size"])
    published = import_timm().models.get_pretrained_cfg(name) or import_timm().models.PretrainedCfg()
    return TimmArchitecture(
        name,
        arguments | _channel_arguments(config),
        published.first_conv,
        published.classifier,
        published.fixed_input_size,
    )


def _registered_name(weights: Weights) -> str | None:
    """timm's name for the size of the model."""
    for name, name_in_timm in TIMM_NAMES.items():
        size = find_size(name)
        if size.family == weights.family and all(
            _plain(size.config.get(field, "gelu")) == _plain(weights.config[field])
            for field in _SIZE_FIELDS[size.family]
        ):
            return name_in_timm
    return None


def _channel_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    return {} if config["image_channels"] == 3 else {"in_chans": config["image_channels"]}


def _mixer_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {"img_size": _plain(config["image_size"])}
    ratios = [_ratio(config[field], config["channels"]) for field in ("token_hidden", "channel_hidden")]
    return arguments if ratios == [0.5, 4.0] else arguments | {"mlp_ratio": ratios}


def _ratio(hidden: int, channels: int) -> float:
    """The ratio for which timm's int(ratio * channels) is `hidden`."""
    ratio = hidden / channels
    return ratio if int(ratio * channels) == hidden else (hidden + 0.5) / channels


def _davit_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {
        "num_heads": _plain(config["heads"]),
        "window_size": config["window"],
        "down_kernel_size": config["merge_kernel"],
        "head_norm_first": config["head_order"] == "norm-pool",
    }
    florence2 = {"channel_attn_v2": True, "named_blocks": True}
    return arguments | florence2 if config["channel_attention"] == "florence2" else arguments


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
