"""Sharpness-aware minimisation: the gradient of the update is taken at the worst point nearby.

Foret et al. 2020, https://arxiv.org/abs/2010.01412, equation 2 with p = 2. As in the authors' code both passes drop the
same residual branches, and batch normalisation tracks the statistics of the first pass alone. The authors perturb on
each accelerator by the gradient of its own images; here all processes perturb by the gradient of the whole batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

PASSES = 2
"""Forward and backward passes of a step."""


@contextmanager
def perturbed(parameters: Sequence[nn.Parameter], buffers: Sequence[Tensor], rho: float) -> Iterator[None]:
    """Within the context, the parameters are moved by `rho` along their gradients, which are cleared.

    At its end they are back at their values, bit for bit, and keep the gradients of the moved point; the buffers are
    back at theirs.
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
        for parameter, value in zip(moved, before, strict=True):  # _foreach_copy_ does not take shards
            parameter.copy_(value)
        for buffer, value in zip(buffers, buffers_before, strict=True):
            buffer.copy_(value)
