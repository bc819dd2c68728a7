"""What all model families share: their anatomy, and checks of their configs.

A model has a `config` and four submodules, applied in this order:

    stem  pixels to patch features
    body  the blocks that mix the patches and the channels
    norm  the final normalisation
    head  features to class logits

`embed(images)` returns the pooled feature vector of each image, (batch, channel), which is the input of the head: the
logits are `head(embed(images))`.
`feature_maps(images)` returns feature maps (batch, channel, row, column), highest resolution first: four for DaViT, one
for other families.

A network for other inputs than images has a config with `input_shape` in place of `image_size` and `image_channels`;
its inputs are integers of this shape, such as (token, feature) of a text.
"""

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mixlab.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from torch import Tensor

ImageSize = int | tuple[int, int]
"""Size in pixels: the side of a square, or (height, width)."""


def height_and_width(image_size: ImageSize) -> tuple[int, int]:
    """(height, width) in pixels of an image size."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def input_shape(config: Any) -> tuple[int, ...]:
    """The shape of one input of a model with this config: (channel, height, width) of an image."""
    if hasattr(config, "input_shape"):
        return config.input_shape
    return (config.image_channels, *height_and_width(config.image_size))


def input_dtype(config: Any) -> torch.dtype:
    """The dtype of the inputs of a model with this config: floating-point for images."""
    return torch.int64 if hasattr(config, "input_shape") else torch.get_default_dtype()


def require_sizes(config: "DataclassInstance") -> None:
    """Check that all integers of a config, including those in tuples, are at least 1.

    `classes` may be 0, which means no head. Raises UserError otherwise.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        minimum = 0 if field.name == "classes" else 1
        if field.type is not float and any(isinstance(number, int) and number < minimum for number in numbers):
            raise UserError(f"{field.name}={value} is out of range: it must be at least {minimum}.")


def require_pixels(images: "Tensor", minimum: int) -> None:
    """Raise UserError if images (batch, channel, height, width) are smaller than `minimum` pixels."""
    height, width = images.shape[2:]
    if height < minimum or width < minimum:
        raise UserError(
            f"This model needs images of at least {minimum} x {minimum} pixels, but got {height} x {width}: give "
            "larger images."
        )


def require_rate(name: str, rate: float) -> None:
    """Raise UserError unless `rate` is in [0, 1). `name` is the config field."""
    if not 0 <= rate < 1:
        raise UserError(f"{name}={rate} is out of range: it must be in [0, 1), for example 0.1.")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UserError unless `value` is one of `choices`. `name` is the config field."""
    if value not in choices:
        raise UserError(f'{name}="{value}" is not supported: it must be one of {", ".join(choices)}.')


def classifier(channels: int, classes: int) -> nn.Linear | nn.Identity:
    """A linear head, or the identity if `classes` is 0."""
    return nn.Linear(channels, classes) if classes else nn.Identity()
