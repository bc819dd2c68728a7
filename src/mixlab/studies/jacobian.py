"""What a module mixes, and how far, from rows of its Jacobian; and the effective receptive field of a network.

A gradient of exactly 0 in float64 means that an output does not depend on an input.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mixlab.studies.mixing_modules import MixingModule
from mixlab.zoo.architecture import Model
from mixlab.zoo.timm_models import TimmModel

Mixes = Literal["places and channels", "places", "channels", "nothing"]


@dataclass(frozen=True)
class Mixing:
    """What one module mixes.

    kind      of the module
    mixes     places: an output depends on other cells of the output's grid; channels: on other channels
    reach     the largest distance of a cell that an output depends on, in rows or columns of the output's grid
    cells     the mean share of the cells that an output depends on
    distance  the mean distance to these cells, weighted by the squared gradient, in pixels of the image
    """

    kind: str
    mixes: Mixes
    reach: int
    cells: float
    distance: float


def mixing_of(module: MixingModule, side: int, count: int, generator: torch.Generator) -> Mixing:
    """Measure a module with `count` random rows of its Jacobian. `side` is the height of the image in pixels.

    A module without a change of the number of channels mixes channels if an output depends on another channel.
    """
    places, channels, gradients = module.rows(count, generator)
    (rows_in, columns_in), (rows, columns) = module.grids
    energy, depends_on = gradients.square(), gradients != 0
    row = torch.arange(rows_in).repeat_interleave(columns_in) * rows // rows_in
    column = torch.arange(columns_in).repeat(rows_in) * columns // columns_in
    down = (row - (places // columns)[:, None]).abs()
    across = (column - (places % columns)[:, None]).abs()
    by_place = energy.sum(dim=2)
    depends = depends_on.any(dim=2)
    mixes_places = bool((depends & ((down > 0) | (across > 0))).any())
    own = torch.zeros_like(depends_on)
    keeps_channels = _channels_out(module) == gradients.shape[2]
    if keeps_channels:
        own[torch.arange(count), :, channels] = True
    mixes_channels = not keeps_channels or bool((depends_on & ~own).any())
    reached = torch.zeros(count, rows * columns).index_add_(1, row * columns + column, depends.float()) > 0
    distances = torch.hypot(down.double(), across.double()) * side / rows
    kinds = (["places"] if mixes_places else []) + (["channels"] if mixes_channels else [])
    mixes: Mixes = " and ".join(kinds) or "nothing"  # pyright: ignore[reportAssignmentType]
    return Mixing(
        module.kind,
        mixes,
        reach=int((torch.maximum(down, across) * depends).max()),
        cells=float(reached.double().mean()),
        distance=float((by_place * distances).sum() / by_place.sum()),
    )


def _channels_out(module: MixingModule) -> int:
    with torch.no_grad():
        output = module.function(module.x[None])
    return output.shape[1 if module.layouts[1].startswith("channel") else -1]


def last_feature_map(model: Model, images: Tensor) -> Float[Tensor, "image channel row column"]:
    """The feature map before pooling."""
    if not isinstance(model, TimmModel):
        return model.feature_maps(images)[-1]
    features = model.network.forward_features(images)
    if features.ndim == 4:
        return features
    rows, columns = model.network.patch_embed.grid_size
    return features[:, -rows * columns :].mT.unflatten(2, (rows, columns))


def effective_receptive_field(
    model: Model, images: Float[Tensor, "image channel height width"], generator: torch.Generator
) -> Float[Tensor, "height width"]:
    """The mean squared gradient of the features at the centre of the last feature map with respect to each pixel.

    Luo et al. 2016, https://arxiv.org/abs/1701.04128, section 2, with squared instead of plain gradients. Random signs
    of the channels make the expected square the sum over all channels.
    """
    inputs = images.clone().requires_grad_()
    features = last_feature_map(model, inputs)
    centre = features[:, :, features.shape[2] // 2, features.shape[3] // 2]
    signs = 2 * torch.randint(2, centre.shape, generator=generator).to(centre) - 1
    (gradient,) = torch.autograd.grad((signs * centre).sum(), inputs)
    return gradient.square().mean(dim=(0, 1))


def half_area(field: Float[Tensor, "height width"]) -> float:
    """The smallest share of the pixels that together have at least half of the sum."""
    ordered = field.flatten().sort(descending=True).values
    count = int((ordered.cumsum(0) < 0.5 * ordered.sum()).sum()) + 1
    return count / field.numel()
