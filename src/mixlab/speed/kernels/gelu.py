"""GELU whose derivative is computed in the forward pass, so that the backward pass is a product.

A forward pass keeps the derivative, in the place of the input that PyTorch keeps.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mixlab.speed.kernels.depthwise import sum_dtype
from mixlab.speed.kernels.library import kernels

Approximation = Literal["none", "tanh"]
"""As in `F.gelu`."""

_KERNELS = {"none": "gelu", "tanh": "tanh_gelu"}

_RUN = 16
"""Rows whose gradients are added up in one sum (kRun in gelu.cpp)."""


def gelu(inputs: Float[Tensor, "*axes"], approximate: Approximation) -> Float[Tensor, "*axes"]:
    """`F.gelu` of fp32, bfloat16 or float64."""
    if not (inputs.dim() == 4 and inputs.is_contiguous(memory_format=torch.channels_last)):
        inputs = inputs.contiguous()
    return _Gelu.apply(inputs, torch.empty_like(inputs), approximate)  # pyright: ignore[reportReturnType]


def gelu_(inputs: Float[Tensor, "*axes"], approximate: Approximation) -> Float[Tensor, "*axes"]:
    """`gelu` of contiguous inputs, which are overwritten with the derivative.

    This saves the memory of one tensor. The inputs must not be used elsewhere, not even for the gradient of the
    operation that has computed them. That of a matrix product does not need its result.
    """
    return _Gelu.apply(inputs, inputs.detach(), approximate)  # pyright: ignore[reportReturnType]


def biased_gelu_(
    inputs: Float[Tensor, "*axes feature"], bias: Float[Tensor, " feature"], approximate: Approximation
) -> Float[Tensor, "*axes feature"]:
    """`gelu_(inputs + bias)`; the inputs are overwritten as well."""
    return _BiasedGelu.apply(inputs, bias, approximate)  # pyright: ignore[reportReturnType]


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, slopes: Tensor, approximate: Approximation) -> Tensor:
        values = torch.empty_like(inputs)
        kernels()(_KERNELS[approximate], inputs.dtype, inputs, values, slopes, (inputs.numel(),))
        ctx.save_for_backward(slopes)
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return gradients[0] * slopes, None, None


class _BiasedGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, bias: Tensor, approximate: Approximation) -> Tensor:
        values, slopes = torch.empty_like(inputs), inputs.detach()
        bias = bias.to(sum_dtype(inputs.dtype)).contiguous()
        kernels()(f"biased_{_KERNELS[approximate]}", inputs.dtype, inputs, bias, values, slopes, _shape(inputs))
        ctx.save_for_backward(slopes)
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (slopes,), gradient = ctx.saved_tensors, gradients[0].contiguous()
        outputs, (rows, columns) = torch.empty_like(slopes), _shape(slopes)
        sums = torch.empty(-(-rows // _RUN), columns, dtype=sum_dtype(slopes.dtype))
        kernels()("biased_gelu_backward", slopes.dtype, gradient, slopes, outputs, sums, (rows, columns))
        return outputs, sums.sum(0), None


def _shape(inputs: Tensor) -> tuple[int, int]:
    """`Shape` in gelu.cpp."""
    columns = inputs.shape[-1]
    return inputs.numel() // columns, columns
