"""GELU with its native kernel, which in MLPs also adds the bias before it and sums its gradient."""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.models.mlp import Mlp
from mixlab.speed.kernels.gelu import Approximation, gelu, gelu_linear
from mixlab.speed.rewrites.autocast import autocast


class NativeGelu(nn.GELU):
    """`nn.GELU` with a native kernel if a gradient is needed."""

    def forward(self, input: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        if not input.requires_grad:
            return super().forward(input)
        return gelu(input, cast(Approximation, self.approximate))


class NativeMlp(nn.Module):
    """`Mlp` with a native kernel in training. Its parameters and their names are those of `mlp`."""

    def __init__(self, mlp: Mlp):
        super().__init__()
        self.first, self.activation, self.second = mlp.first, _native(mlp.activation), mlp.second
        self.train(mlp.training)

    def forward(self, x: Float[Tensor, "*axes feature"]) -> Float[Tensor, "*axes feature"]:
        if not self.training:
            return self.second(self.activation(self.first(x)))
        hidden = F.linear(x, self.first.weight)
        second, approximate = self.second, cast(Approximation, self.activation.approximate)
        return gelu_linear(hidden, self.first.bias, autocast(second.weight), autocast(second.bias), approximate)


def native_gelu(model: nn.Module) -> nn.Module:
    """Replace the MLPs of `model`, and all other GELU modules. The parameters and their names stay the same."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is Mlp:
                setattr(module, name, NativeMlp(child))
            elif type(child) is nn.GELU:
                setattr(module, name, _native(child))
    return model


def has_gelu(model: nn.Module) -> bool:
    """Whether `native_gelu` changes anything."""
    return any(type(module) is nn.GELU for module in model.modules())


def _native(activation: nn.GELU) -> NativeGelu:
    return NativeGelu(activation.approximate).train(activation.training)
