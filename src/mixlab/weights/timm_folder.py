"""A folder as timm writes it, which timm.create_model("local-dir:FOLDER", pretrained=True) opens."""

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
"""The fields of a config that its config.json has beside the tensors."""

# timm's name for a size of ours, and the fields in which a model has to be that size's.
TIMM_NAMES = {
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
_SAME = {
    "mixer": ("patch_size", "channels", "token_hidden", "channel_hidden", "depth"),
    "convmixer": ("patch_size", "kernel_size", "channels", "depth", "activation"),
    "davit": ("channels", "depths"),
}


def timm_name(weights: Weights) -> str | None:
    """None where timm registers no such size, or has one only as a part of Florence-2, with a norm that it lacks."""
    if weights.config.get("channel_attention") == "florence2" or weights.config.get("head_order") == "pool":
        return None
    for ours, theirs in TIMM_NAMES.items():
        size = find_size(ours)
        if size.family == weights.family and all(
            _plain(size.config.get(name, "gelu")) == _plain(weights.config[name]) for name in _SAME[size.family]
        ):
            return theirs
    return None


def write_timm_folder(
    folder: Path,
    name: str,
    weights: Weights,
    tensors: Mapping[str, Tensor],
    classes: tuple[str, ...],
    preprocess: Preprocess,
) -> None:
    """`tensors` under timm's names, into `folder`, which is there."""
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
                "crop_pct": preprocess.crop_fraction,
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
    """What timm's constructor has to be told beside its name for the size."""
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
