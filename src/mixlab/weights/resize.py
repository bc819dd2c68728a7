"""Resizes the token MLPs of a Mixer to another image size, and a stem to another patch size.

All functions compute in float64 and return tensors of the original dtype. Tensors that do not change are returned as
they are, without a copy.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Grid = tuple[int, int]
"""Rows and columns of patches."""

Tensors = Mapping[str, Tensor]


def enlarge_exact(tensors: Tensors, grid: Grid, factor: int) -> dict[str, Tensor]:
    """Enlarges a Mixer exactly, to images `factor` times as high and wide (Tolstikhin et al. 2021, appendix C).

    Each of the factor ** 2 tiles of an image is processed like an image of the old size, and the logits are the mean
    over the tiles. W1 and W2 become block-diagonal with one block for each tile; token_hidden and the number of patches
    grow by factor ** 2. In the paper the patches are in the order of the tiles; here they are in reading order.

    `tensors` is the state dict of the Mixer and `grid` its rows and columns of patches.
    """
    tiles = factor * factor
    order = _tile_order(grid, factor)

    def enlarge(first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor) -> list[Tensor]:
        by_tile_first, by_tile_second = (torch.block_diag(*[weight] * tiles) for weight in (first, second))
        new_first, new_second = torch.empty_like(by_tile_first), torch.empty_like(by_tile_second)
        new_first[:, order] = by_tile_first
        new_second[order] = by_tile_second
        new_bias = second_bias.new_empty(len(order))
        new_bias[order] = second_bias.repeat(tiles)
        return [new_first, first_bias.repeat(tiles), new_second, new_bias]

    return _with_token_mlps(tensors, enlarge)


def resample_token_mlps(tensors: Tensors, grid: Grid, new_grid: Grid) -> dict[str, Tensor]:
    """Resamples a Mixer to any other grid. token_hidden stays the same: W1' = W1 D, W2' = U W2, b2' = U b2.

    U maps a field of tokens to the new grid, and D maps it back. Along an axis that grows, U is linear interpolation
    and D its pseudo-inverse. Along an axis that shrinks, D is the interpolation to the old grid and U its
    pseudo-inverse. If no axis shrinks, D U = 1: the hidden units respond to an enlarged field as to the original one,
    and resampling back restores the weights. The model as a whole does change, because the channel MLPs act in between.

    `tensors` is the state dict of the Mixer; `grid` and `new_grid` are rows and columns of patches.
    """
    pairs = [_axis_maps(before, after) for before, after in zip(grid, new_grid, strict=True)]
    to_new = torch.kron(pairs[0][0].contiguous(), pairs[1][0].contiguous())  # reading order: rows change slowest
    to_old = torch.kron(pairs[0][1].contiguous(), pairs[1][1].contiguous())

    def resample(first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor) -> list[Tensor]:
        return [first @ to_old, first_bias, to_new @ second, to_new @ second_bias]

    return _with_token_mlps(tensors, resample)


def resize_patch_kernel(
    weight: Float[Tensor, "channel image_channel height width"], size: tuple[int, int]
) -> Float[Tensor, "channel image_channel new_height new_width"]:
    """Resizes the patch embedding to patches of `size`, (height, width) in pixels (Beyer et al. 2023, section 3).

    FlexiViT, https://arxiv.org/abs/2212.08013: w' = pinv(B^T) w, where B resizes a patch bilinearly. If the patch
    grows, the output for a resized patch equals the old output for the patch; if it shrinks, it is the least-squares
    solution.
    """
    rows, columns = (_interpolation(before, after) for before, after in zip(weight.shape[2:], size, strict=True))
    resize = torch.linalg.pinv(torch.kron(rows, columns).mT)  # (new pixels, old pixels)
    return (weight.double().flatten(2) @ resize.mT).unflatten(2, size).to(weight.dtype)


def _with_token_mlps(tensors: Tensors, change: Callable[..., list[Tensor]]) -> dict[str, Tensor]:
    changed = dict(tensors)
    for block in _blocks(tensors):
        names = [f"{block}.token_mlp.{part}" for part in ("first.weight", "first.bias", "second.weight", "second.bias")]
        for name, tensor in zip(names, change(*(tensors[name].double() for name in names)), strict=True):
            changed[name] = tensor.to(tensors[name].dtype)
    return changed


def _blocks(tensors: Tensors) -> Iterator[str]:
    end = ".token_mlp.first.weight"
    return (name.removesuffix(end) for name in tensors if name.endswith(end))


def _tile_order(grid: Grid, factor: int) -> Tensor:
    """Index in reading order of each patch in the order (tile row, tile column, row, column)."""
    rows, columns = grid
    indices = torch.arange(factor * rows * factor * columns, device="cpu").view(factor, rows, factor, columns)
    return indices.permute(0, 2, 1, 3).flatten()


def _axis_maps(before: int, after: int) -> tuple[Tensor, Tensor]:
    """The maps to the new and to the old grid along one axis, of shapes (after, before) and (before, after)."""
    if after >= before:
        to_new = _interpolation(before, after)
        return to_new, torch.linalg.pinv(to_new)
    to_old = _interpolation(after, before)
    return torch.linalg.pinv(to_old), to_old


def _interpolation(before: int, after: int) -> Float[Tensor, "after before"]:
    """Linear interpolation along one axis, with pixel centres half a pixel from the edges; each row sums to 1."""
    unit = torch.eye(before, dtype=torch.float64, device="cpu")[None]
    return F.interpolate(unit, size=after, mode="linear", align_corners=False)[0].mT
