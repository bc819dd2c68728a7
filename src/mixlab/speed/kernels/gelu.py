"""GELU whose derivative is computed in the forward pass, so that the backward pass is a product.

A forward pass keeps the derivative, in the place of the input that PyTorch keeps.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mixlab.speed.kernels.library import kernels

_KERNELS = {"none": "gelu", "tanh": "tanh_gelu"}


def gelu(inputs: Float[Tensor, "*axes"], approximate: Literal["none", "tanh"]) -> Float[Tensor, "*axes"]:
    """`F.gelu` of fp32, bfloat16 or float64."""
    return _Gelu.apply(inputs, approximate)  # pyright: ignore[reportReturnType]


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, approximate: str) -> Tensor:
        inputs = inputs.contiguous()
        values, slopes = torch.empty_like(inputs), torch.empty_like(inputs)
        kernels()(_KERNELS[approximate], inputs.dtype, inputs, values, slopes, (inputs.numel(),))
        ctx.save_for_backward(slopes)
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (slopes,) = ctx.saved_tensors
        return gradients[0] * slopes, None
