"""Infers the config of a model from the shapes of its tensors, also for sizes without a name.

The shapes do not determine the activation, epsilon, heads and window. These fields come from the caller, the Card, the
file format, or a default.
"""

import re
from collections.abc import Callable, Mapping
from math import isqrt
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]


class ShapeMismatch(Exception):  # noqa: N818  named for the problem
    """A tensor that determines the config is missing (`shape` is None) or has an impossible shape.

    `expected` describes the expected shape, such as "(classes, channels)".
    """

    def __init__(self, name: str, shape: tuple[int, ...] | None, expected: str):
        super().__init__(name)
        self.name, self.shape, self.expected = name, shape, expected


def config_from_shapes(family: str, shapes: Shapes) -> dict[str, Any]:
    """The fields of the config that `shapes` determine.

    `shapes` has the shape of each tensor by its name in the state dict of the model. Raises ShapeMismatch.
    """
    config = {"mixer": _mixer, "convmixer": _convmixer, "davit": _davit}[family](shapes)
    classes, _ = _shape(shapes, "head.weight", "(classes, channels)") if "head.weight" in shapes else (0, 0)
    return {**config, "classes": classes}


def default_fields(family: str, config: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """Defaults for the fields that shapes do not determine; a field without a default is left out.

    `config` has the fields that `config_from_shapes` infers from `shapes`.
    """
    match family:
        case "mixer":
            _, patches = shapes["body.0.token_mlp.first.weight"]
            side = isqrt(patches)
            return {"image_size": side * config["patch_size"]} if side * side == patches else {}
        case "convmixer":
            sizes = tuple(config[name] for name in ("channels", "depth", "patch_size", "kernel_size"))
            relu = sizes == (768, 32, 7, 7)  # the only size that the authors trained with ReLU
            return {"activation": "relu" if relu else "gelu", "image_size": 224}
        case _:
            divisible = all(channels % 32 == 0 for channels in config["channels"])
            heads = {"heads": tuple(channels // 32 for channels in config["channels"])} if divisible else {}
            return {**heads, "window": 7, "image_size": 224}


def _mixer(shapes: Shapes) -> dict[str, Any]:
    channels, image_channels, patch, _ = _stem(shapes, "stem.weight")
    token_hidden, _ = _shape(shapes, "body.0.token_mlp.first.weight", "(token_hidden, patches)")
    channel_hidden, _ = _shape(shapes, "body.0.channel_mlp.first.weight", "(channel_hidden, channels)")
    return {
        "image_channels": image_channels,
        "patch_size": patch,
        "channels": channels,
        "token_hidden": token_hidden,
        "channel_hidden": channel_hidden,
        "depth": _count(shapes, r"body\.(\d+)\."),
    }


def _convmixer(shapes: Shapes) -> dict[str, Any]:
    channels, image_channels, patch, _ = _stem(shapes, "stem.0.weight")
    _, _, kernel, _ = _shape(shapes, "body.0.depthwise.0.weight", "(channels, 1, kernel, kernel)", _square)
    return {
        "image_channels": image_channels,
        "patch_size": patch,
        "kernel_size": kernel,
        "channels": channels,
        "depth": _count(shapes, r"body\.(\d+)\."),
    }


def _davit(shapes: Shapes) -> dict[str, Any]:
    first, image_channels, _, _ = _stem(shapes, "stem.convolution.weight")
    stages = _count(shapes, r"body\.(\d+)\.")
    merges = [
        _shape(shapes, f"body.{stage}.merge.convolution.weight", "(channels, channels before, kernel, kernel)", _square)
        for stage in range(1, stages)
    ]
    return {
        "image_channels": image_channels,
        "channels": (first, *(merge[0] for merge in merges)),
        "depths": tuple(-(-_count(shapes, rf"body\.{stage}\.blocks\.(\d+)\.") // 2) for stage in range(stages)),
        "head_order": _head_order(shapes),
    } | ({"merge_kernel": merges[0][2]} if merges else {})


def _head_order(shapes: Shapes) -> str:
    if "norm.weight" in shapes:
        return "pool-norm"
    return "norms-pool" if "norm.0.weight" in shapes else "pool"


def _stem(shapes: Shapes, name: str) -> tuple[int, ...]:
    return _shape(shapes, name, "(channels, image_channels, patch, patch)", _square)


def _square(shape: tuple[int, ...]) -> bool:
    return shape[2] == shape[3]


def _shape(
    shapes: Shapes, name: str, expected: str, is_valid: Callable[[tuple[int, ...]], bool] = lambda shape: True
) -> tuple[int, ...]:
    """The shape of tensor `name`. It must have as many axes as `expected` lists, none of size 0."""
    shape = shapes.get(name)
    if shape is None or len(shape) != expected.count(",") + 1 or 0 in shape or not is_valid(shape):
        raise ShapeMismatch(name, shape, expected)
    return shape


def _count(shapes: Shapes, pattern: str) -> int:
    """The largest number in the names plus one, so a gap appears as missing tensors; at most the number of tensors."""
    matches = (re.match(pattern, name) for name in shapes)
    return min(max((int(match[1]) + 1 for match in matches if match), default=0), len(shapes))
