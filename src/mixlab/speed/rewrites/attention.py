"""Attention whose gradients are computed by matrix products: in reduced precision on a CPU, faster than PyTorch's.

PyTorch keeps query, key, value and the result of its fused attention. Here the result is not kept.

Axes:  query_patch, key_patch  patches of the queries, and of the keys and values
       d                       features of a head
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mixlab.speed.rewrites.autocast import autocast


def unfused_attention() -> AbstractContextManager[object]:
    """A context in which the gradients of PyTorch's attention are not fused.

    Attention with a mask, dropout or other options stays PyTorch's. `benchmarks/cpu_training.py` measures the effect.
    """
    return _Unfused()


def attention_modules(model: nn.Module, images: Float[Tensor, "image channel row column"]) -> list[str]:
    """The names of the modules that call PyTorch's attention in a forward pass, without those around them."""
    running: list[str] = []

    def leave(*_: object) -> None:
        running.pop()

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
        handles.append(module.register_forward_hook(leave))
    with _Attention(running) as attention, torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return list(attention.callers)


class _UnfusedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Float[Tensor, "*axes query_patch d"],
        key: Float[Tensor, "*axes key_patch d"],
        value: Float[Tensor, "*axes key_patch d"],
    ) -> Float[Tensor, "*axes query_patch d"]:
        ctx.save_for_backward(query, key, value)
        return F.scaled_dot_product_attention(query, key, value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,), (query, key, value) = gradients, ctx.saved_tensors
        scale = query.shape[-1] ** -0.5
        query = query * scale
        weights = (query @ key.mT).softmax(dim=-1)
        of_weights = gradient @ value.mT
        of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        return (of_scores @ key).mul_(scale), of_scores.mT @ query, weights.mT @ gradient


class _Unfused(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        has_option = any(isinstance(option, Tensor) or option for option in options.values())
        if func is F.scaled_dot_product_attention and len(args) == 3 and not has_option:
            return _UnfusedAttention.apply(*map(autocast, args))
        return func(*args, **options)


class _Attention(TorchFunctionMode):
    """Records the modules that call `F.scaled_dot_product_attention` within the context, as keys of `callers`.

    `running` has the names of the modules in whose forward pass the caller is, the innermost last.
    """

    def __init__(self, running: Sequence[str]) -> None:
        super().__init__()
        self.callers: dict[str, None] = {}
        self._running = running

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            self.callers[self._running[-1]] = None
        return func(*args, **(kwargs or {}))
