"""A Mixer's tensors for other images, and a stem's for other patches: functions of tensors under our names.

Computed in float64, returned in the tensors' own dtype; tensors that do not change are passed on as they are.
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
    """For images `factor` times as high and as wide, each part of which is mixed as a whole image was before.

    The logits are the mean of the parts' (Tolstikhin et al. 2021, appendix C): W1 and W2 become block-diagonal with one
    block a part, and token_hidden and the patches grow by factor ** 2. The paper's order of patches is part by part;
    here they come in reading order.
    """
    parts = factor * factor
    order = _part_order(grid, factor)

    def enlarge(first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor) -> list[Tensor]:
        wide, high = (torch.block_diag(*[weight] * parts) for weight in (first, second))
        placed_first, placed_second = torch.empty_like(wide), torch.empty_like(high)
        placed_first[:, order] = wide
        placed_second[order] = high
        placed_bias = torch.empty(len(order), dtype=second_bias.dtype)
        placed_bias[order] = second_bias.repeat(parts)
        return [placed_first, first_bias.repeat(parts), placed_second, placed_bias]

    return _with_token_mlps(tensors, enlarge)


def resample_token_mlps(tensors: Tensors, grid: Grid, new_grid: Grid) -> dict[str, Tensor]:
    """For any other grid, with token_hidden kept: W1' = W1 D, W2' = U W2, b2' = U b2.

    U carries a field of tokens to the new grid and D back. Along an axis that grows, U is bilinear interpolation and D
    its pseudo-inverse; along one that shrinks, U is the pseudo-inverse of the interpolation that would lead back, and D
    that interpolation. So D U = 1 where nothing shrinks: an enlarged field excites the hidden units as the old field
    did; and there and back gives the weights back. The model as a whole is not the same: the channel MLPs act between.
    """
    pairs = [_carriers(before, after) for before, after in zip(grid, new_grid, strict=True)]
    there = torch.kron(pairs[0][0].contiguous(), pairs[1][0].contiguous())  # in reading order: the row changes slowest
    back = torch.kron(pairs[0][1].contiguous(), pairs[1][1].contiguous())

    def resample(first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor) -> list[Tensor]:
        return [first @ back, first_bias, there @ second, there @ second_bias]

    return _with_token_mlps(tensors, resample)


def resize_patch_kernel(
    weight: Float[Tensor, "channel image_channel height width"], size: tuple[int, int]
) -> Float[Tensor, "channel image_channel new_height new_width"]:
    """The stem that sees in a patch resized to `size` what the old one saw in the patch (Beyer et al. 2023, section 3).

    FlexiViT, https://arxiv.org/abs/2212.08013: w' = pseudo-inverse of B^T, times w, where B resizes a patch bilinearly.
    Exact where the patch grows; where it shrinks, the nearest in least squares.
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


def _part_order(grid: Grid, factor: int) -> Tensor:
    """For each patch in the order (part's row, part's column, row, column): its place in reading order."""
    rows, columns = grid
    places = torch.arange(factor * rows * factor * columns).view(factor, rows, factor, columns)
    return places.permute(0, 2, 1, 3).flatten()


def _carriers(before: int, after: int) -> tuple[Tensor, Tensor]:
    """(after, before) there, and (before, after) back, along one axis."""
    if after >= before:
        there = _interpolation(before, after)
        return there, torch.linalg.pinv(there)
    back = _interpolation(after, before)
    return torch.linalg.pinv(back), back


def _interpolation(before: int, after: int) -> Float[Tensor, "after before"]:
    """Linear, with the centres of the pixels half a pixel from the edges; each row's weights add up to 1."""
    unit = torch.eye(before, dtype=torch.float64)[None]
    return F.interpolate(unit, size=after, mode="linear", align_corners=False)[0].mT
