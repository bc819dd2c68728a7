"""GELU whose kernel computes the derivative in the same pass.

`gelu` does so in the forward pass, and keeps the derivative instead of the input that PyTorch keeps. `gelu_linear`
keeps the input alone, where PyTorch keeps the activations as well.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

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


def gelu_linear(
    inputs: Float[Tensor, "*axes feature"],
    bias: Float[Tensor, " feature"],
    weight: Float[Tensor, "output feature"],
    output_bias: Float[Tensor, " output"],
    approximate: Approximation,
) -> Float[Tensor, "*axes output"]:
    """`F.linear(F.gelu(inputs + bias), weight, output_bias)` of contiguous inputs.

    Only the inputs are kept for the backward pass, which computes the activations again.
    """
    return _GeluLinear.apply(inputs, bias, weight, output_bias, approximate)  # pyright: ignore[reportReturnType]


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


class _GeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, bias: Tensor, weight: Tensor, output_bias: Tensor, approximate: Approximation
    ) -> Tensor:
        ctx.save_for_backward(inputs, bias, weight)
        ctx.approximate = approximate
        values = torch.empty_like(inputs)
        _activate(inputs, bias, values, None, approximate)
        return F.linear(values, weight, output_bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        inputs, bias, weight = ctx.saved_tensors
        values, slopes = torch.empty_like(inputs), torch.empty_like(inputs)
        _activate(inputs, bias, values, slopes, ctx.approximate)
        gradient = gradients[0].flatten(0, -2)
        of_weight = gradient.T @ values.flatten(0, -2)
        of_values, of_inputs = gradient @ weight, slopes
        rows, columns = of_values.shape
        sums = torch.empty(-(-rows // _RUN), columns, dtype=sum_dtype(inputs.dtype))
        kernels()("biased_gelu_backward", inputs.dtype, of_values, slopes, of_inputs, sums, (rows, columns))
        return of_inputs, sums.sum(0), of_weight, gradient.sum(0), None


def _activate(inputs: Tensor, bias: Tensor, values: Tensor, slopes: Tensor | None, approximate: Approximation) -> None:
    """Write GELU of `inputs + bias` to `values`, and its derivative to `slopes`."""
    bias = bias.to(sum_dtype(inputs.dtype)).contiguous()
    columns = inputs.shape[-1]
    shape = (inputs.numel() // columns, columns)
    kernels()(f"biased_{_KERNELS[approximate]}", inputs.dtype, inputs, bias, values, slopes, shape)
