"""The speed of matrix products on this machine, which the speed of a model is compared with."""

from collections.abc import Callable
from functools import cache

import torch

from mixlab.measure.timing import interleaved

_SIZES = {"cpu": (1024, 2048)}
_ACCELERATOR_SIZES = (4096, 8192)
"""Rows of the square matrices. Both sizes of a kind of device are timed, because neither is always the faster one."""


@cache
def matrix_product_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Multiply-accumulates per second of the fastest product of two square matrices on `device`.

    A bound for models in this precision: their matrix products are smaller, and most of them do other work as well.
    The machine is measured once per process, with PyTorch's current number of threads.
    """
    products = {str(size): product(size, device, dtype) for size in _SIZES.get(device.type, _ACCELERATOR_SIZES)}
    seconds = interleaved(products, rounds=7)
    return max(int(size) ** 3 / min(samples) for size, samples in seconds.items())


def product(size: int, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    """A function that multiplies two random square matrices with `size` rows."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    result = torch.empty_like(left)

    def multiply() -> None:
        torch.mm(left, right, out=result)

    return multiply
