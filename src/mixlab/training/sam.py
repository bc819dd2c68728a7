"""Sharpness-aware minimisation (SAM): updates with the gradient at perturbed weights.

Foret et al. 2020, https://arxiv.org/abs/2010.01412, equation 2 with p = 2. As in the authors' code, both passes drop
the same residual branches, and batch normalisation tracks the statistics of the first pass only. Unlike the authors'
code, which perturbs with the gradient of each accelerator's images, all processes perturb with the gradient of the
whole batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

PASSES = 2
"""Forward and backward passes per step."""


@contextmanager
def perturbed(parameters: Sequence[nn.Parameter], buffers: Sequence[Tensor], rho: float) -> Iterator[None]:
    """Within the context, the parameters are moved by a step of norm `rho` along their gradients, which are cleared.

    At the end, parameters and buffers get their previous values, bit for bit. The gradients at the moved parameters
    stay.
    """
    buffers_before = [buffer.clone() for buffer in buffers]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    moved = [parameter.detach() for parameter in parameters if parameter.grad is not None]
    before = [parameter.clone() for parameter in moved]
    norm = torch.nn.utils.get_total_norm(gradients)
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    ascent = torch._foreach_mul(gradients, rho / norm.clamp(min=torch.finfo(norm.dtype).tiny))  # pyright: ignore
    torch._foreach_add_(moved, ascent)  # pyright: ignore
    for parameter in parameters:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, value in zip(moved, before, strict=True):  # _foreach_copy_ does not support DTensor
            parameter.copy_(value)
        for buffer, value in zip(buffers, buffers_before, strict=True):
            buffer.copy_(value)
