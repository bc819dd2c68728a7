"""What every family has, so that studies, rewrites and exporters attach by name and not by flag."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol

from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ImageSize = int | tuple[int, int]
"""Pixels: one side of a square, or (height, width)."""


class ImageModel(Protocol):
    """Stem, body, norm, head: pixels to patches, the mixing, the last normalisation, features to classes.

    For the type checker: isinstance would fail from Python 3.12 on, which overlooks the parts that a module registers.
    """

    @property
    def config(self) -> Any: ...
    @property
    def stem(self) -> nn.Module: ...
    @property
    def body(self) -> nn.Module: ...
    @property
    def norm(self) -> nn.Module: ...
    @property
    def head(self) -> nn.Module: ...

    def embed(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch channel"]:
        """One vector an image: pooled, just before the head."""
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
    """Refuse sizes and counts below 1, alone or in a tuple; 0 classes are allowed and mean no head."""
    for field in fields(config):
        value = getattr(config, field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        least = 0 if field.name == "classes" else 1
        if field.type is not float and any(isinstance(number, int) and number < least for number in numbers):
            raise UserError(f"{field.name}={value} is too small: give at least {least}.")


def require_rate(name: str, rate: float) -> None:
    if not 0 <= rate < 1:
        raise UserError(f"{name}={rate} is no rate: give a number from 0 to just below 1, such as 0.1.")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f'{name}="{value}" is unknown: choose one of {", ".join(choices)}.')


def classifier(channels: int, classes: int) -> nn.Linear | nn.Identity:
    """The linear head; with no classes the features pass as they are."""
    return nn.Linear(channels, classes) if classes else nn.Identity()
