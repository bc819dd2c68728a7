"""Writes a folder in the format of timm, for timm.create_model("local-dir:FOLDER", pretrained=True)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mixlab.data.preprocess import Preprocess
from mixlab.files import write_json
from mixlab.models.contract import height_and_width
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_tensors
from mixlab.zoo.sizes import find_size

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
_SIZE_FIELDS = {  # the fields that define a size
    "mixer": ("patch_size", "channels", "token_hidden", "channel_hidden", "depth"),
    "convmixer": ("patch_size", "kernel_size", "channels", "depth", "activation"),
    "davit": ("channels", "depths"),
}


def timm_name(weights: Weights) -> str | None:
    """The name of the model in timm; None if timm does not have its size.

    timm has the tower of Florence-2 only with a norm that the published weights lack, so its name is None as well.
    """
    if weights.config.get("channel_attention") == "florence2" or weights.config.get("head_order") == "pool":
        return None
    for name, name_in_timm in TIMM_NAMES.items():
        size = find_size(name)
        if size.family == weights.family and all(
            _plain(size.config.get(field, "gelu")) == _plain(weights.config[field])
            for field in _SIZE_FIELDS[size.family]
        ):
            return name_in_timm
    return None


def write_timm_folder(
    folder: Path,
    name: str,
    weights: Weights,
    tensors: Mapping[str, Tensor],
    classes: tuple[str, ...],
    preprocess: Preprocess,
) -> None:
    """Writes model.safetensors and config.json into `folder`, which must exist.

    `name` is timm's name of the model, `tensors` have timm's names, and `classes` are the class names.
    """
    config = weights.config
    height, width = height_and_width(config["image_size"])
    write_tensors(folder / "model.safetensors", tensors)
    write_json(
        folder / "config.json",
        {
            "architecture": name,
            "num_classes": config["classes"],
            "num_features": config["channels"][-1] if weights.family == "davit" else config["channels"],
            "model_args": _arguments(weights),
            "label_names": list(classes),
            "pretrained_cfg": {
                "input_size": [config["image_channels"], height, width],
                "fixed_input_size": weights.family == "mixer",
                "interpolation": preprocess.interpolation,
                "crop_pct": 1.0 if preprocess.resize == "stretch" else preprocess.crop_fraction,
                "crop_mode": "center" if preprocess.resize == "shorter_side" else "squash",
                "mean": list(preprocess.mean),
                "std": list(preprocess.std),
                "num_classes": config["classes"],
                "pool_size": None,
                "first_conv": {"mixer": "stem.proj", "convmixer": "stem.0", "davit": "stem.conv"}[weights.family],
                "classifier": "head.fc" if weights.family == "davit" else "head",
            },
        },
    )


def _arguments(weights: Weights) -> dict[str, Any]:
    """The arguments of timm's constructor that differ from the default of the size."""
    config = weights.config
    if weights.family == "mixer":
        return {"img_size": _plain(config["image_size"])}
    if weights.family == "convmixer":
        return {}
    return {
        "num_heads": _plain(config["heads"]),
        "window_size": config["window"],
        "down_kernel_size": config["merge_kernel"],
        "head_norm_first": config["head_order"] == "norm-pool",
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
