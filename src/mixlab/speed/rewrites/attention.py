"""Unfused attention: in reduced precision on a CPU, its gradients are faster than those of fused attention."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


def unfused_attention() -> AbstractContextManager[object]:
    """A context in which PyTorch's attention is not fused. `benchmarks/cpu_training.py` measures the effect."""
    return sdpa_kernel(SDPBackend.MATH)


def uses_attention(model: nn.Module, image_shape: Sequence[int]) -> bool:
    """Whether the forward pass of `model` calls PyTorch's attention.

    model        on the meta device
    image_shape  (channel, row, column)
    """
    with _Attention() as attention, torch.no_grad():
        model(torch.empty(2, *image_shape, device="meta"))
    return attention.is_used


class _Attention(TorchFunctionMode):
    """Records whether `F.scaled_dot_product_attention` is called within the context."""

    def __init__(self) -> None:
        super().__init__()
        self.is_used = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.is_used |= func is F.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))
