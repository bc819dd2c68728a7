"""ConvMixer's blocks and stem with native kernels, which read and write the images about half as often.

Only training uses the kernels: in evaluation, the operations are those of the stock modules. Pointwise convolutions
are PyTorch's, but their weight gradient is a matrix product where that is faster.
"""

from collections.abc import Iterable
from typing import Any, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.models.convmixer import ConvMixer, ConvMixerBlock
from mixlab.speed.kernels.activation_norm import (
    Activation,
    Norm,
    Normalised,
    activation_norm,
    depthwise_activation_norm,
)
from mixlab.speed.rewrites.autocast import autocast

_STEMS = [[nn.Conv2d, activation, nn.BatchNorm2d] for activation in (nn.GELU, nn.ReLU)]
"""The types of the modules of a stock stem."""

_MAX_POSITIONS = 8
"""Positions of all images, relative to the channels, up to which the matrix product is faster. In fp32, it never is."""


class FusedConvMixerBlock(nn.Module):
    """`ConvMixerBlock` with native kernels. Its parameters and their names are those of `block`."""

    def __init__(self, block: ConvMixerBlock):
        super().__init__()
        self.depthwise, self.pointwise = block.depthwise, FusedConvActivationNorm(*block.pointwise)
        self.train(block.training)

    def forward(self, x: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch channel row column"]:
        if not self.training:
            return self.pointwise(x + self.depthwise(x))
        convolution, activation, norm = _parts(self.depthwise)
        x = autocast(x)
        mixed = depthwise_activation_norm(x, convolution.weight, _bias(convolution), activation, _parameters(norm))
        return self.pointwise(_tracked(mixed, norm))


class FusedConvActivationNorm(nn.Sequential):
    """Convolution, activation and `nn.BatchNorm2d`; the last two with a native kernel."""

    def forward(
        self, input: Float[Tensor, "batch channel_in row_in column_in"]
    ) -> Float[Tensor, "batch channel row column"]:
        if not self.training:
            return super().forward(input)
        convolution, activation, norm = _parts(self)
        outputs = _convolve(autocast(input), autocast(convolution.weight), convolution.stride)
        return _tracked(activation_norm(outputs, _bias(convolution), activation, _parameters(norm)), norm)


class _PointwiseConvolution(torch.autograd.Function):
    """A pointwise convolution of channels-last images whose weight gradient is a matrix product."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(images, weight)
        return F.conv2d(images, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,), (images, weight) = gradients, ctx.saved_tensors
        rows, gradient_rows = (each.permute(0, 2, 3, 1).flatten(0, 2) for each in (images, gradient))
        of_images, _, _ = torch.ops.aten.convolution_backward(
            gradient,
            images,
            weight,
            bias_sizes=None,
            stride=[1, 1],
            padding=[0, 0],
            dilation=[1, 1],
            transposed=False,
            output_padding=[0, 0],
            groups=1,
            output_mask=[True, False, False],
        )
        return of_images, (gradient_rows.T @ rows).view_as(weight)


def _convolve(images: Tensor, weight: Tensor, stride: tuple[int, ...]) -> Tensor:
    positions = images.shape[0] * images.shape[2] * images.shape[3]
    is_pointwise = weight.shape[2:] == (1, 1)
    if is_pointwise and images.dtype == torch.bfloat16 and positions <= _MAX_POSITIONS * len(weight):
        return _PointwiseConvolution.apply(images, weight)  # pyright: ignore[reportReturnType]
    return F.conv2d(images, weight, stride=stride)


def fuse_convmixer(model: nn.Module) -> nn.Module:
    """Replace the stem and the blocks of a stock ConvMixer. The parameters and their names stay the same."""
    assert is_stock_convmixer(model)
    model.stem = FusedConvActivationNorm(*model.stem).train(model.stem.training)
    for index, block in enumerate(model.body):
        model.body[index] = FusedConvMixerBlock(block)  # pyright: ignore[reportArgumentType]
    return model


def is_stock_convmixer(model: nn.Module) -> TypeGuard[ConvMixer]:
    """Whether the model is a ConvMixer whose stem and blocks are the stock ones, and not those of a subclass."""
    return (
        isinstance(model, ConvMixer)
        and [type(module) for module in model.stem.children()] in _STEMS
        and all(type(block) is ConvMixerBlock for block in model.body.children())
    )


def _parts(modules: Iterable[nn.Module]) -> tuple[nn.Conv2d, Activation, nn.BatchNorm2d]:
    convolution, activation, norm = modules
    assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    return convolution, "gelu" if isinstance(activation, nn.GELU) else "relu", norm


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


def _parameters(norm: nn.BatchNorm2d) -> Norm:
    return Norm(norm.weight, norm.bias, norm.eps)


def _tracked(normalised: Normalised, norm: nn.BatchNorm2d) -> Tensor:
    """The normalised images. The running statistics of `norm` are updated as in `nn.BatchNorm2d`."""
    images, mean, variance = normalised
    count = images.numel() // images.shape[1]
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)  # pyright: ignore[reportOptionalMemberAccess]
        for running, value in ((norm.running_mean, mean), (norm.running_var, variance * (count / (count - 1)))):
            running.lerp_(value.to(running.dtype), norm.momentum)  # pyright: ignore
    return images
