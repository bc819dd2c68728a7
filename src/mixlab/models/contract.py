"""The interface that every model family implements, and checks that their configs share."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol

from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ImageSize = int | tuple[int, int]
"""Size in pixels: the side of a square, or (height, width)."""


class ImageModel(Protocol):
    """An image classifier with four submodules, applied in this order.

    stem  pixels to patch features
    body  the blocks that mix the patches and the channels
    norm  the final normalisation
    head  features to class logits

    This protocol is for the type checker only: isinstance does not work from Python 3.12 on, because it ignores
    submodules registered by nn.Module.
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
        """The pooled feature vector of each image, which is the input of the head."""
        ...

    def feature_maps(
        self, images: Float[Tensor, "batch image_channel height width"]
    ) -> tuple[Float[Tensor, "batch channel row column"], ...]:
        """Feature maps in spatial layout, highest resolution first: four maps for DaViT, one for other families."""
        ...

    def __call__(self, images: Float[Tensor, "batch image_channel height width"]) -> Float[Tensor, "batch class"]: ...


def height_and_width(image_size: ImageSize) -> tuple[int, int]:
    """(height, width) in pixels of an image size."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


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
