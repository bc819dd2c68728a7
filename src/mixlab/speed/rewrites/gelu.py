"""GELU with its native kernel."""

from typing import Literal, cast

from jaxtyping import Float
from torch import Tensor, nn

from mixlab.speed.kernels.gelu import gelu


class NativeGelu(nn.GELU):
    """`nn.GELU` with a native kernel if a gradient is needed."""

    def forward(self, input: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        if not input.requires_grad:
            return super().forward(input)
        return gelu(input, cast(Literal["none", "tanh"], self.approximate))


def native_gelu(model: nn.Module) -> nn.Module:
    """Replace the GELU modules of `model`."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.GELU:
                setattr(module, name, NativeGelu(child.approximate).train(child.training))
    return model


def has_gelu(model: nn.Module) -> bool:
    """Whether `native_gelu` changes anything."""
    return any(type(module) is nn.GELU for module in model.modules())
