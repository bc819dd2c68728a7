"""Depthwise convolutions with faster gradients on a CPU.

oneDNN's fast weight gradient of a depthwise convolution covers kernels of at most three columns; PyTorch computes wider
ones in a slow way. Here a wide kernel is divided into groups of three columns, and the gradient of the images is a
convolution with the flipped kernel. `benchmarks/cpu_training.py` measures the ratios.

Axes:  image            images of the batch
       channel          channels, each with its own kernel
       row, column      positions
       k_row, k_column  positions of the kernel
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_MAX_COLUMNS = 3
"""The width of the kernels that oneDNN's fast weight gradient covers."""


class SplitDepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` with stride 1 and an odd kernel that keeps the size of the image.

    It computes the same function, and the same gradients up to rounding.
    """

    def forward(self, input: Float[Tensor, "image channel row column"]) -> Float[Tensor, "image channel row column"]:
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled(input.device.type):
            dtype = torch.get_autocast_dtype(input.device.type)
            input, weight, bias = input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        return _SplitDepthwiseConvolution.apply(input, weight, bias)  # pyright: ignore[reportReturnType]


class _SplitDepthwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(images, weight)
        return F.conv2d(images, weight, bias, padding=_padding(weight), groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,), (images, weight) = gradients, ctx.saved_tensors
        for_images, for_weight, for_bias = ctx.needs_input_grad
        flipped = weight.flip(2, 3)
        return (
            F.conv2d(gradient, flipped, padding=_padding(weight), groups=len(weight)) if for_images else None,
            _weight_gradient(gradient, images, weight) if for_weight else None,
            gradient.sum((0, 2, 3)) if for_bias else None,
        )


def split_depthwise_gradients(model: nn.Module) -> nn.Module:
    """Replace the depthwise convolutions with wide kernels in `model`. Their parameters and names stay the same."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if _is_wide_depthwise(child):
                setattr(module, name, _split(child))
    return model


def has_wide_depthwise(model: nn.Module) -> bool:
    """Whether `split_depthwise_gradients` changes anything."""
    return any(map(_is_wide_depthwise, model.modules()))


def _is_wide_depthwise(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.groups == module.in_channels == module.out_channels
        and module.kernel_size[1] > _MAX_COLUMNS
        and all(size % 2 == 1 for size in module.kernel_size)
        and module.stride == module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and module.padding in ("same", tuple(size // 2 for size in module.kernel_size))
    )


def _split(convolution: nn.Module) -> SplitDepthwiseConv2d:
    assert isinstance(convolution, nn.Conv2d)
    split = SplitDepthwiseConv2d(
        convolution.in_channels,
        convolution.out_channels,
        (convolution.kernel_size[0], convolution.kernel_size[1]),
        padding=convolution.padding,  # pyright: ignore[reportArgumentType]
        groups=convolution.groups,
        bias=convolution.bias is not None,
        device="meta",
    )
    split.weight, split.bias = convolution.weight, convolution.bias
    return split.train(convolution.training)


def _padding(weight: Tensor) -> list[int]:
    return [size // 2 for size in weight.shape[2:]]


def _weight_gradient(
    gradient: Float[Tensor, "image channel row column"],
    images: Float[Tensor, "image channel row column"],
    weight: Float[Tensor, "channel 1 k_row k_column"],
) -> Float[Tensor, "channel 1 k_row k_column"]:
    row_padding, column_padding = _padding(weight)
    columns = images.shape[3]
    padded = F.pad(images, (column_padding, column_padding))
    parts = []
    for part in weight.split(_MAX_COLUMNS, dim=3):
        first = sum(other.shape[3] for other in parts)
        shifted = padded[:, :, :, first : first + columns + part.shape[3] - 1]
        _, part_gradient, _ = torch.ops.aten.convolution_backward(
            gradient,
            shifted.contiguous(memory_format=_memory_format(images)),
            part.contiguous(),
            bias_sizes=None,
            stride=[1, 1],
            padding=[row_padding, 0],
            dilation=[1, 1],
            transposed=False,
            output_padding=[0, 0],
            groups=len(weight),
            output_mask=[False, True, False],
        )
        parts.append(part_gradient)
    return torch.cat(parts, dim=3)


def _memory_format(images: Tensor) -> torch.memory_format:
    is_channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_channels_last else torch.contiguous_format
