"""Depthwise convolutions that are computed in another way, and those with faster gradients on a CPU.

oneDNN's fast weight gradient of a depthwise convolution covers kernels of at most three columns; PyTorch computes wider
ones in a slow way. There are two alternatives. Native kernels (kernels/depthwise.py) compute all gradients. Without a
compiler, a wide kernel is divided into groups of three columns, and the gradient of the images is a convolution with
the flipped kernel. `benchmarks/cpu_training.py` measures the ratios.

Axes:  image            images of the batch
       channel          channels, each with its own kernel
       row, column      positions
       k_row, k_column  positions of the kernel
"""

from collections.abc import Callable
from typing import Any, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from mixlab.speed.kernels.depthwise import depthwise_convolution
from mixlab.speed.rewrites.autocast import autocast

_MAX_COLUMNS = 3
"""The width of the kernels that oneDNN's fast weight gradient covers."""

Convolve = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Function of (images, weight, bias)."""


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` that keeps the size of the image, computed by `convolve` in training mode.

    It computes the same function, and the same gradients up to rounding.
    """

    convolve: Convolve

    def forward(self, input: Float[Tensor, "image channel row column"]) -> Float[Tensor, "image channel row column"]:
        if not self.training:
            return super().forward(input)
        bias = None if self.bias is None else autocast(self.bias)
        return self.convolve(autocast(input), autocast(self.weight), bias)


def split_depthwise(model: nn.Module) -> nn.Module:
    """Compute the gradients of wide depthwise convolutions in groups of three columns."""
    return _replace_wide(model, _split_depthwise_convolution)


def native_depthwise(model: nn.Module) -> nn.Module:
    """Compute the gradients of wide depthwise convolutions with the native kernels."""
    return _replace_wide(model, depthwise_convolution)


def has_wide_depthwise(model: nn.Module) -> bool:
    """Whether the model has depthwise convolutions that can be replaced."""
    return any(map(_is_wide_depthwise, model.modules()))


def replace_depthwise(model: nn.Module, convolve: Callable[[nn.Conv2d], Convolve | None]) -> nn.Module:
    """Replace the depthwise convolutions for which `convolve` returns a function.

    Their parameters and names stay the same.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if is_depthwise(child) and (function := convolve(child)) is not None:
                setattr(module, name, _replaced(child, function))
    return model


def is_depthwise(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether the module is a stock depthwise convolution with stride 1 that keeps the size of the image."""
    return (
        type(module) is nn.Conv2d
        and isinstance(module.weight, nn.Parameter)  # and not computed, as by `torch.nn.utils.weight_norm`
        and module.groups == module.in_channels == module.out_channels
        and module.stride == module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and (module.padding == "same" or module.padding == tuple((size - 1) / 2 for size in module.kernel_size))
    )


class _SplitDepthwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(images, weight)
        return F.conv2d(images, weight, bias, padding="same", groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,), (images, weight) = gradients, ctx.saved_tensors
        for_images, for_weight, for_bias = ctx.needs_input_grad
        left, right, top, bottom = _padding(weight)
        padded = F.pad(gradient, (right, left, bottom, top))
        return (
            F.conv2d(padded, weight.flip(2, 3), groups=len(weight)) if for_images else None,
            _weight_gradient(gradient, images, weight) if for_weight else None,
            gradient.sum((0, 2, 3)) if for_bias else None,
        )


def _split_depthwise_convolution(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _SplitDepthwiseConvolution.apply(images, weight, bias)  # pyright: ignore[reportReturnType]


def _replace_wide(model: nn.Module, convolve: Convolve) -> nn.Module:
    return replace_depthwise(model, lambda convolution: convolve if _is_wide_depthwise(convolution) else None)


def _is_wide_depthwise(module: nn.Module) -> bool:
    return is_depthwise(module) and module.kernel_size[1] > _MAX_COLUMNS


def _replaced(convolution: nn.Conv2d, convolve: Convolve) -> DepthwiseConv2d:
    replaced = DepthwiseConv2d(
        convolution.in_channels,
        convolution.out_channels,
        (convolution.kernel_size[0], convolution.kernel_size[1]),
        padding=convolution.padding,  # pyright: ignore[reportArgumentType]
        groups=convolution.groups,
        bias=convolution.bias is not None,
        device="meta",
    )
    replaced.weight, replaced.bias, replaced.convolve = convolution.weight, convolution.bias, convolve
    return replaced.train(convolution.training)


def _padding(weight: Tensor) -> tuple[int, int, int, int]:
    """Left, right, top and bottom. For even kernels, PyTorch's "same" has the larger half right and at the bottom."""
    rows, columns = weight.shape[2:]
    return (columns - 1) // 2, columns // 2, (rows - 1) // 2, rows // 2


def _weight_gradient(
    gradient: Float[Tensor, "image channel row column"],
    images: Float[Tensor, "image channel row column"],
    weight: Float[Tensor, "channel 1 k_row k_column"],
) -> Float[Tensor, "channel 1 k_row k_column"]:
    columns = images.shape[3]
    padded = F.pad(images, _padding(weight))
    parts = []
    for part in weight.split(_MAX_COLUMNS, dim=3):
        first = sum(other.shape[3] for other in parts)
        shifted = padded[:, :, :, first : first + columns + part.shape[3] - 1]
        shifted = shifted.contiguous(memory_format=_memory_format(images))
        parts.append(conv2d_weight(shifted, part.shape, gradient, groups=len(weight)))
    return torch.cat(parts, dim=3)


def _memory_format(images: Tensor) -> torch.memory_format:
    is_channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_channels_last else torch.contiguous_format
