"""The BatchNorms of a ConvMixer folded into the convolutions that follow them.

A ConvMixer's BatchNorm follows the activation, so that it can't be folded into the convolution before it. In a block,

    y = depthwise_norm(activation(depthwise(x)))    with x = norm(u), the output of the layer before
    z = pointwise(x + y)

both norms are scale * u + shift per channel. The scale goes into the kernels. The shift goes into a map that is added
to the output of the depthwise convolution: it is not constant, because the convolution pads x, not u, with zeros.

Axes:  channel      features of a patch
       row, column  the grid of patches
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.models.convmixer import ConvMixer, ConvMixerBlock
from mixlab.speed.rewrites.convmixer import is_stock_convmixer

_MIN_RELATIVE_SCALE = 1e-6
"""A norm is not folded if its smallest scale is a smaller fraction of the largest one: the blocks divide by scales."""


class _FoldedBlock(nn.Module):
    """A block on the activations u before `norm_before`; its result is the activation before its own last norm."""

    def __init__(self, block: nn.Module, norm_before: nn.BatchNorm2d, grid: tuple[int, int]):
        super().__init__()
        assert isinstance(block, ConvMixerBlock)
        depthwise, activation, depthwise_norm = block.depthwise
        pointwise, _, _ = block.pointwise
        assert isinstance(depthwise, nn.Conv2d) and isinstance(pointwise, nn.Conv2d)
        assert isinstance(depthwise_norm, nn.BatchNorm2d) and pointwise.bias is not None
        scale, shift = _scale_and_shift(norm_before)
        depthwise_scale, depthwise_shift = _scale_and_shift(depthwise_norm)
        constant = shift[None, :, None, None].expand(-1, -1, *grid)
        with torch.no_grad():
            self.shift_map = nn.Parameter(depthwise(constant))
            self.ratio = nn.Parameter((depthwise_scale / scale)[:, None, None])
            depthwise.weight.mul_(scale[:, None, None, None])
            pointwise.bias.add_(pointwise.weight[:, :, 0, 0] @ (shift + depthwise_shift))
            pointwise.weight.mul_(scale[:, None, None])
        depthwise.bias = None
        self.depthwise, self.activation = depthwise, activation
        self.pointwise = nn.Sequential(pointwise, activation)

    def forward(self, u: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch channel row column"]:
        y = self.activation(self.depthwise(u).add_(self.shift_map))
        return self.pointwise(torch.addcmul(u, y, self.ratio))


def fold_batch_norms_forward(model: nn.Module, image_shape: Sequence[int]) -> int:
    """Fold the norms of all ConvMixers in `model`, whose images have the shape (channel, row, column)."""
    convmixers = [module for module in model.modules() if is_stock_convmixer(module) and _can_be_folded(module)]
    for convmixer in convmixers:
        _fold(convmixer, image_shape)
    return len(convmixers)


def _fold(convmixer: ConvMixer, image_shape: Sequence[int]) -> None:
    patch = convmixer.config.patch_size
    grid = image_shape[1] // patch, image_shape[2] // patch
    *stem, norm = convmixer.stem
    folded = []
    for block in convmixer.body:
        assert isinstance(norm, nn.BatchNorm2d) and isinstance(block, ConvMixerBlock)
        next_norm = block.pointwise[-1]
        folded.append(_FoldedBlock(block, norm, grid))
        norm = next_norm
    convmixer.stem, convmixer.body, convmixer.norm = nn.Sequential(*stem), nn.Sequential(*folded), norm  # pyright: ignore[reportAttributeAccessIssue]


def _can_be_folded(convmixer: ConvMixer) -> bool:
    scales = [_scale_and_shift(norm)[0].abs() for norm in convmixer.modules() if isinstance(norm, nn.BatchNorm2d)]
    return all(bool(scale.min() > _MIN_RELATIVE_SCALE * scale.max()) for scale in scales)


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Float[Tensor, " channel"], Float[Tensor, " channel"]]:
    """The affine function of a BatchNorm in evaluation mode."""
    assert norm.running_var is not None and norm.running_mean is not None
    with torch.no_grad():
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        return scale, norm.bias - norm.running_mean * scale
