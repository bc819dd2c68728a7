"""The filters of a model as arrays, and their arrangement for images without a permutation.

Axes:  unit         a row of a linear layer over the places, a depthwise kernel, or a filter of the stem
       row, column  patches, or the positions of a kernel
       y, x         pixels of a filter of the stem
       group, d     the groups of a channel attention, and the channels of a group
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from mixlab.data.transforms import Transform
from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.models.davit import ChannelAttention, DaViT, DaViTBlock
from mixlab.studies.filter_maps import Maps
from mixlab.studies.places import Places
from mixlab.zoo.architecture import Architecture, Model

Kind = Literal["token-mixing units", "depthwise kernels"]
UNITS: Kind = "token-mixing units"
KERNELS: Kind = "depthwise kernels"


@dataclass(frozen=True)
class PositionFilters:
    """The filters of one layer. `block` names the block, and the layer if several in the block are of this kind."""

    kind: Kind
    block: str
    maps: Maps


def stem_filters(model: Model) -> Float[np.ndarray, "unit image_channel y x"] | None:
    """The weights of the first convolution of the stem; None without one.

    Raises UserError for a model without the anatomy of the three families.
    """
    if not hasattr(model, "stem"):
        raise UserError(
            "Filters are defined for Mixers, ConvMixers, DaViTs and your own models with their anatomy, and this model "
            "is another one: give --model with the run or the weights of one of them."
        )
    convolutions = (module for module in model.get_submodule("stem").modules() if isinstance(module, nn.Conv2d))
    first = next(convolutions, None)
    return None if first is None else _array(first.weight)


def position_filters(model: Model, built: Architecture) -> list[PositionFilters]:
    """The filters that mix positions in each block, token-mixing units first; `built` is the architecture of `model`.

    A token-mixing unit is a row of the weights of a linear layer with an input for each place, such as the first layer
    of a token MLP (Tolstikhin et al. 2021, appendix D). A DaViT has none, because its window attention depends on the
    image.

    Raises UserError if the architecture can't have images of another size.
    """
    if isinstance(model, DaViT):
        return []
    places = Places(built)
    found: list[PositionFilters] = []
    for number, (name, block) in enumerate(model.get_submodule("body").named_children(), 1):
        prefix = f"body.{name}"
        layers = block.named_modules(prefix=prefix)
        own = [each for path, layer in layers for each in _filters(path, layer, places)]
        for each in own:
            is_only_one = sum(other.kind == each.kind for other in own) == 1
            part = each.block.removeprefix(prefix).removeprefix(".")
            found.append(replace(each, block=f"block {number}" if is_only_one else f"block {number}, {part}"))
    return sorted(found, key=lambda each: [UNITS, KERNELS].index(each.kind))


def _filters(path: str, layer: nn.Module, places: Places) -> Iterator[PositionFilters]:
    if isinstance(layer, nn.Linear):
        larger = places.larger.get_submodule(path)
        assert isinstance(larger, nn.Linear)
        if tokens := places.tokens(layer.in_features, larger.in_features):
            before, (rows, columns) = tokens
            yield PositionFilters(UNITS, path, _array(layer.weight)[:, before:].reshape(-1, rows, columns))
    if isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels and layer.kernel_size != (1, 1):
        yield PositionFilters(KERNELS, path, _array(layer.weight)[:, 0])


def channel_attention_maps(model: Model) -> dict[str, Float[np.ndarray, "group d d"]]:
    """The attention among the channels of each group, by block of a DaViT: from channel (first) to channel (second).

    A channel attention depends on the image, and so this is that of tokens with uncorrelated channels of mean 0 and
    variance 1 before the affine part of the LayerNorm: for query, key and value x W + b, the product over the tokens
    is their number times W^T diag(scale^2) W + m^T m, with the mean m. It follows from the weights alone.
    """
    if not isinstance(model, DaViT):
        return {}
    rows, columns = (-(-side // 4) for side in height_and_width(model.config.image_size))
    maps: dict[str, Float[np.ndarray, "group d d"]] = {}
    for number, stage in enumerate(model.body, 1):
        if number > 1:
            rows, columns = -(-rows // 2), -(-columns // 2)
        blocks = [block for block in stage.modules() if isinstance(block, DaViTBlock)]
        attentions = [block for block in blocks if isinstance(block.attention, ChannelAttention)]
        for index, block in enumerate(attentions, 1):
            name = f"stage {number}, pair {index}"
            maps[name] = _channel_attention(block, rows * columns, model.config.channel_attention)
    return maps


def _channel_attention(block: DaViTBlock, patches: int, kind: str) -> Float[np.ndarray, "group d d"]:
    attention, norm = block.attention, block.attention_norm
    assert isinstance(attention, ChannelAttention)
    projection = attention.query_key_value
    with torch.no_grad():
        weights = projection.weight.unflatten(0, (3, attention.groups, -1)).double()
        means = (projection.weight @ norm.bias + projection.bias).unflatten(0, (3, attention.groups, -1)).double()
        scales = norm.weight.double() ** 2
        left, right = (1, 2) if kind == "davit" else (0, 1)
        products = (weights[left] * scales) @ weights[right].mT + means[left][:, :, None] * means[right][:, None]
        factor = weights.shape[2] ** -0.5 * patches if kind == "davit" else patches**0.5
        return _array((factor * products).softmax(dim=-1))


def source_positions(
    transform: Transform, image_size: tuple[int, int], patch: int
) -> tuple[Int[np.ndarray, " patch"], Int[np.ndarray, " pixel"]] | None:
    """For each patch of a permuted image the patch that it comes from, and for each pixel of a patch the same.

    None if the transform moves pixels from one patch of `patch` x `patch` pixels to several.
    """
    rows, columns = (side // patch for side in image_size)
    patches = torch.arange(rows * columns, dtype=torch.float64).reshape(rows, columns)
    pixels = torch.arange(patch * patch, dtype=torch.float64).reshape(patch, patch)
    image = torch.stack([torch.kron(patches, torch.ones_like(pixels)), torch.kron(torch.ones_like(patches), pixels)])
    cut = "image (row y) (column x) -> image (row column) (y x)"
    sources, offsets = rearrange(transform(image[None])[0], cut, y=patch, x=patch).long().numpy()
    if (sources != sources[:, :1]).any() or (offsets != offsets[:1]).any():
        return None
    return sources[:, 0], offsets[0]


def unpermuted(values: Float[np.ndarray, "*axes row column"], sources: Int[np.ndarray, " position"]) -> np.ndarray:
    """Weights for permuted images, arranged for the original images: the value of a position moves to its source."""
    flat = values.reshape(*values.shape[:-2], -1)
    arranged = np.empty_like(flat)
    arranged[..., sources] = flat
    return arranged.reshape(values.shape)


def unpermuted_units(filters: Sequence[PositionFilters], sources: Int[np.ndarray, " patch"]) -> list[PositionFilters]:
    """The token-mixing units over all patches, arranged for the original images; kernels slide over permuted ones."""
    return [
        replace(each, maps=unpermuted(each.maps, sources))
        for each in filters
        if each.kind == UNITS and each.maps[0].size == len(sources)
    ]


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()
