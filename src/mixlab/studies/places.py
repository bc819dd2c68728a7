"""Which axes of the tensors and weights of a network are places: those that grow with the image.

Lengths alone can't tell, because mixer_nano has 64 patches and 64 channels. The model is therefore compared with the
same architecture for images of twice the height and width, on the meta device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from mixlab.errors import UserError
from mixlab.models.contract import input_shape
from mixlab.zoo.architecture import Architecture, Model

Layout = Literal["channel row column", "row column channel", "place channel", "channel place"]
Grid = tuple[int, int]

_LAYOUTS: Mapping[tuple[bool, ...], Layout] = {  # by the axes that grow, without that of the batch
    (False, True, True): "channel row column",
    (True, True, False): "row column channel",
    (True, False): "place channel",
    (False, True): "channel place",
}


@dataclass(frozen=True)
class FeatureMap:
    """What the axes of a tensor mean.

    grid           (rows, columns)
    tokens_before  tokens without a place, such as a class token
    """

    layout: Layout
    grid: Grid
    tokens_before: int = 0


class Places:
    """The axes of places of a model. `larger` is the model for images of twice the height and width."""

    def __init__(self, built: Architecture):
        """Raises UserError if the architecture can't have this image size."""
        self._built = built
        self.larger = _larger(built)

    def feature_map(self, shape: torch.Size, larger: torch.Size) -> FeatureMap | None:
        """What the axes of a tensor with these shapes, here and in the larger model, mean.

        None for anything but the feature map of a batch of 1.
        """
        if len(shape) != len(larger) or shape[0] != 1 or larger[0] != 1:
            return None
        layout = _LAYOUTS.get(tuple(a != b for a, b in zip(shape[1:], larger[1:], strict=True)))
        match layout:
            case None:
                return None
            case "channel row column":
                return FeatureMap(layout, (shape[2], shape[3]))
            case "row column channel":
                return FeatureMap(layout, (shape[1], shape[2]))
            case "place channel" | "channel place":
                axis = 1 if layout == "place channel" else 2
                tokens = self.tokens(shape[axis], larger[axis])
                return tokens and FeatureMap(layout, grid=tokens[1], tokens_before=tokens[0])

    def tokens(self, length: int, larger: int) -> tuple[int, Grid] | None:
        """The number of tokens without a place, and the grid of the others, of an axis with these lengths.

        The grid is that of one of the feature maps. None if the axis has no tokens.
        """
        for (rows, columns), (larger_rows, larger_columns) in self._grids:
            before = length - rows * columns
            if before >= 0 and before == larger - larger_rows * larger_columns:
                return before, (rows, columns)
        return None

    @cached_property
    def _grids(self) -> list[tuple[Grid, Grid]]:
        return list(zip(_grids(self._built.on_meta()), _grids(self.larger), strict=True))


def meta_image(model: Model) -> Tensor:
    """A batch of one image on the meta device."""
    return torch.empty(1, *input_shape(model.config), device="meta")


def _grids(model: Model) -> list[Grid]:
    return [(one.shape[2], one.shape[3]) for one in model.feature_maps(meta_image(model))]


def at_twice_the_size(built: Architecture) -> Architecture:
    """The same architecture for images of twice the height and width. Raises UserError if there is none."""
    size = built.image_size
    return built.with_fields(image_size=2 * size if isinstance(size, int) else (2 * size[0], 2 * size[1]))


def _larger(built: Architecture) -> Model:
    try:
        return at_twice_the_size(built).on_meta().eval()
    except UserError as error:
        raise UserError(
            f"To tell places from channels, this study also builds {built.name} for images of twice the height and "
            f"width, which fails: {error}"
        ) from error
