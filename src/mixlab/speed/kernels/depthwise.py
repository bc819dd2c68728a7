"""Gradients of depthwise convolutions with stride 1 that keep the size of the image ("same").

Axes:  image            images of the batch
       row, column      positions
       k_row, k_column  positions of the kernel
       channel          channels, each with its own kernel
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mixlab.speed.kernels.library import Argument, kernels

_MAX_GROUPS = 32
"""Images are divided into that many groups (kMaxGroups in depthwise.cpp), whose gradients are computed separately."""


class ConvolutionGradients(NamedTuple):
    """The gradients of a depthwise convolution."""

    images: Float[Tensor, "image channel row column"]
    weight: Float[Tensor, "channel 1 k_row k_column"]
    bias: Float[Tensor, " channel"]


def depthwise_convolution(
    images: Float[Tensor, "image channel row column"],
    weight: Float[Tensor, "channel 1 k_row k_column"],
    bias: Float[Tensor, " channel"] | None,
) -> Float[Tensor, "image channel row column"]:
    """PyTorch's depthwise convolution with padding "same", with the gradients of the native kernel.

    images   fp32, bfloat16 or float64
    weight   of the same type
    """
    return _DepthwiseConvolution.apply(images, weight, bias)  # pyright: ignore[reportReturnType]


class _DepthwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(images, weight)
        return F.conv2d(images, weight, bias, padding="same", groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        images, weight = (tensor.contiguous(memory_format=torch.channels_last) for tensor in ctx.saved_tensors)
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        found = convolution_gradients("depthwise_backward", images, weight, gradient)
        return found.images, found.weight, found.bias if ctx.needs_input_grad[2] else None


def convolution_gradients(
    kernel: str,
    images: Float[Tensor, "image channel row column"],
    weight: Float[Tensor, "channel 1 k_row k_column"],
    *gradient: Argument,
) -> ConvolutionGradients:
    """The gradients that the native `kernel` computes. The images must be contiguous in channels-last layout.

    gradient  the gradient of the outputs: the first arguments of the kernel
    """
    flat = flat_kernel(weight, images.dtype)
    groups = min(len(images), _MAX_GROUPS)
    of_images, of_weight, of_bias = (
        torch.empty_like(images),
        flat.new_empty(groups, *flat.shape),
        flat.new_empty(groups, flat.shape[1]),
    )
    shape = convolution_shape(images, weight)
    kernels()(kernel, images.dtype, *gradient, images, flat, of_images, of_weight, of_bias, shape)
    return ConvolutionGradients(of_images, of_weight.sum(0).T.reshape(weight.shape), of_bias.sum(0))


def flat_kernel(
    weight: Float[Tensor, "channel 1 k_row k_column"], images_dtype: torch.dtype
) -> Float[Tensor, "k_position channel"]:
    """The weights in the order and the type of the native kernels: float64 for images in float64, otherwise fp32."""
    return weight.flatten(1).T.to(sum_dtype(images_dtype)).contiguous()


def sum_dtype(images_dtype: torch.dtype) -> torch.dtype:
    """The type of the sums over images of this type."""
    return torch.float64 if images_dtype == torch.float64 else torch.float32


def memory_format(images: Tensor) -> torch.memory_format:
    """The layout of images; that of images that have both, such as those of a single channel, is contiguous."""
    is_channels_last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return torch.channels_last if is_channels_last else torch.contiguous_format


def convolution_shape(images: Tensor, weight: Tensor) -> tuple[int, ...]:
    """`Shape` in depthwise.cpp. PyTorch's padding "same" has the larger half on the right and at the bottom."""
    images_, channels, rows, columns = images.shape
    kernel_rows, kernel_columns = weight.shape[2:]
    padding = ((kernel_rows - 1) // 2, (kernel_columns - 1) // 2)
    return images_, rows, columns, channels, kernel_rows, kernel_columns, *padding
