"""Sharpness-aware minimisation: the step is taken along the gradient at the worst place near by.

Foret et al. 2020, https://arxiv.org/abs/2010.01412, equation 2 with p = 2. As in the authors' code both passes draw the
same stochastic depth, and batch normalisation remembers the first alone. The authors climb on each accelerator by the
gradient of its own images; here all processes climb by the gradient of the whole batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

T = TypeVar("T")


def with_fixed_rng(one_pass: Callable[[], T]) -> Callable[[], T]:
    """`one_pass`, which draws the same whenever it is called, and what nothing before it has drawn."""
    seed = int(torch.randint(2**63 - 1, ()))

    def drawing() -> T:
        torch.manual_seed(seed)
        return one_pass()

    return drawing


@contextmanager
def perturbed(parameters: Sequence[nn.Parameter], buffers: Sequence[Tensor], rho: float) -> Iterator[None]:
    """Within, the parameters stand `rho` farther up their gradients, which are cleared to be computed anew.

    Behind, they stand where they stood, to the bit, and keep the new gradients; the buffers hold what they held.
    """
    held = [buffer.clone() for buffer in buffers]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    moved = [parameter.detach() for parameter in parameters if parameter.grad is not None]
    stood = [parameter.clone() for parameter in moved]
    norm = torch.nn.utils.get_total_norm(gradients)
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    up = torch._foreach_mul(gradients, rho / norm.clamp(min=torch.finfo(norm.dtype).tiny))  # pyright: ignore
    torch._foreach_add_(moved, up)  # pyright: ignore
    for parameter in parameters:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, place in zip(moved, stood, strict=True):  # shards have no such operation for all at once
            parameter.copy_(place)
        for buffer, value in zip(buffers, held, strict=True):
            buffer.copy_(value)
