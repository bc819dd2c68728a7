"""PyTorch's depthwise convolution with kernels of cuDNN or of PyTorch, instead of those that it selects itself.

`torch.backends.cudnn.depthwise_kernel` (PyTorch 2.15) makes the choice. It also applies to the backward pass, which is
outside of any context of the forward pass. Two operators therefore set it for the duration of a call. As operators,
they are not traced by `torch.compile`, which could not see the setting.

Axes:  image            images of the batch
       channel          channels, each with its own kernel
       row, column      positions
       k_row, k_column  positions of the kernel, odd numbers
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.backends import cudnn
from torch.nn import functional as F

from mixlab.speed.kernels.depthwise import memory_format


def depthwise_convolution(
    images: Float[Tensor, "image channel row column"],
    weight: Float[Tensor, "channel 1 k_row k_column"],
    bias: Float[Tensor, " channel"] | None,
    kernel: str,
) -> Float[Tensor, "image channel row column"]:
    """A depthwise convolution with padding "same"; the outputs have the layout of the images.

    kernel  "cudnn" or "native"
    """
    return torch.ops.mixlab.selected_depthwise(images, weight, bias, kernel)


@torch.library.custom_op(
    "mixlab::selected_depthwise",
    mutates_args=(),
    schema="(Tensor images, Tensor weight, Tensor? bias, str kernel) -> Tensor",
)
def _convolution(images: Tensor, weight: Tensor, bias: Tensor | None, kernel: str) -> Tensor:
    with _selected(kernel):
        outputs = F.conv2d(images, weight, bias, padding=_padding(weight), groups=len(weight))
    return outputs.contiguous(memory_format=memory_format(images))


@torch.library.custom_op(
    "mixlab::selected_depthwise_gradients",
    mutates_args=(),
    schema="(Tensor gradient, Tensor images, Tensor weight, str kernel) -> (Tensor, Tensor, Tensor)",
)
def _gradients(gradient: Tensor, images: Tensor, weight: Tensor, kernel: str) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the images, the weights and the bias."""
    layout, channels = memory_format(images), len(weight)
    with _selected(kernel):
        of_images, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient.contiguous(memory_format=layout),
            images,
            weight,
            bias_sizes=[channels],
            stride=[1, 1],
            padding=_padding(weight),
            dilation=[1, 1],
            transposed=False,
            output_padding=[0, 0],
            groups=channels,
            output_mask=[True, True, True],
        )
    return of_images.contiguous(memory_format=layout), of_weight.contiguous(), of_bias


@_convolution.register_fake
def _(images: Tensor, weight: Tensor, bias: Tensor | None, kernel: str) -> Tensor:
    return torch.empty_like(images.contiguous(memory_format=memory_format(images)))


@_gradients.register_fake
def _(gradient: Tensor, images: Tensor, weight: Tensor, kernel: str) -> tuple[Tensor, Tensor, Tensor]:
    of_images = torch.empty_like(images.contiguous(memory_format=memory_format(images)))
    return of_images, weight.new_empty(weight.shape), weight.new_empty(len(weight))


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, str], output: Tensor) -> None:
    images, weight, bias, ctx.kernel = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(images, weight)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
    images, weight = ctx.saved_tensors
    of_images, of_weight, of_bias = torch.ops.mixlab.selected_depthwise_gradients(gradient, images, weight, ctx.kernel)
    return of_images, of_weight, of_bias if ctx.has_bias else None, None


_convolution.register_autograd(_backward, setup_context=_setup_context)


@contextmanager
def _selected(kernel: str) -> Iterator[None]:
    before = cudnn.depthwise_kernel
    cudnn.depthwise_kernel = kernel
    try:
        yield
    finally:
        cudnn.depthwise_kernel = before


def _padding(weight: Tensor) -> list[int]:
    return [size // 2 for size in weight.shape[2:]]
