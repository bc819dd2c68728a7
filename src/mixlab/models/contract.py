"""What every family has, so that studies, rewrites and exporters attach by name and not by flag."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ImageSize = int | tuple[int, int]
"""Pixels: one side of a square, or (height, width)."""


@runtime_checkable
class ImageModel(Protocol):
    """Stem, body, norm, head: pixels to patches, the mixing, the last normalisation, features to classes."""

    config: Any
    stem: nn.Module
    body: nn.Module
    norm: nn.Module
    head: nn.Module

    def embed(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch channel"]:
        """One vector a picture: pooled, just before the head."""
        ...

    def feature_maps(
        self, images: Float[Tensor, "batch image_channel height width"]
    ) -> tuple[Float[Tensor, "batch channel row column"], ...]:
        """The patches' features in their places, finest first: four maps for DaViT, one otherwise."""
        ...

    def __call__(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch class"]: ...


def height_and_width(image_size: ImageSize) -> tuple[int, int]:
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def require_sizes(config: "DataclassInstance") -> None:
    """Refuse a whole number, or a tuple of them, below 1; no classes is no head and may be 0."""
    for field in fields(config):
        value = getattr(config, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        limit = 0 if field.name == "classes" else 1
        if any(isinstance(number, int) and number < limit for number in numbers):
            raise UserError(f"{field.name}={value} is too small: a {type(config).__name__} needs at least {limit}.")


def require_rate(name: str, rate: float) -> None:
    if not 0 <= rate < 1:
        raise UserError(f"{name}={rate} is no rate: give a number from 0 to just below 1, such as 0.1.")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f'{name}="{value}" is unknown: choose one of {", ".join(choices)}.')


def classifier(channels: int, classes: int) -> nn.Linear | nn.Identity:
    """The linear head; with no classes the features pass as they are."""
    return nn.Linear(channels, classes) if classes else nn.Identity()
