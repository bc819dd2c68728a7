"""Linear layers whose weights oneDNN has packed for its kernels, with the activation after them in the same kernel.

PyTorch packs the weights again in every call, and computes the activation in a pass of its own. A pointwise convolution
is a linear layer on the channels; it is only faster for images with channels last. The kernel of the last layer of a
Mixer's block adds the residual connection.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.measure.machine import has_bf16_kernels
from mixlab.models.mixer import MixerBlock
from mixlab.models.mlp import Mlp


class _PackedLinear(nn.Module):
    """A linear layer and an activation, in evaluation mode; where oneDNN has no kernel for the input, PyTorch's.

    weight      (feature_out, feature_in)
    activation  GELU, ReLU or the identity
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: nn.Module):
        super().__init__()
        self.weight, self.bias, self.activation = weight, bias, activation
        self._kernel, self._algorithm = _kernel(activation)
        self._packed: Tensor | None = None

    def forward(self, x: Float[Tensor, "*axes feature_in"]) -> Float[Tensor, "*axes feature_out"]:
        if not _has_kernel(x):
            return self.activation(F.linear(x, self.weight, self.bias))
        weight = self._packed_for(x)
        return torch.ops.mkldnn._linear_pointwise(x, weight, self.bias, self._kernel, [], self._algorithm)

    def plus(
        self, x: Float[Tensor, "*axes feature_in"], residual: Float[Tensor, "*axes feature_out"]
    ) -> Float[Tensor, "*axes feature_out"]:
        """`residual` plus the linear layer, whose activation is the identity."""
        if not _has_kernel(x):
            return residual + self(x)
        return torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._packed_for(x), self.bias, "add")

    def _packed_for(self, x: Tensor) -> Tensor:
        packed = self._packed
        if packed is None:
            packed = self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, x.numel() // x.shape[-1])
        return packed


class _PackedMixerBlock(nn.Module):
    """`MixerBlock` with packed layers, in evaluation mode."""

    def __init__(self, block: MixerBlock):
        super().__init__()
        self.token_norm, self.token_mlp = block.token_norm, _packed_mlp(block.token_mlp)
        self.channel_norm, self.channel_mlp = block.channel_norm, _packed_mlp(block.channel_mlp)

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        x = x + self.token_mlp(self.token_norm(x).mT).mT
        first, second = self.channel_mlp
        return second.plus(first(self.channel_norm(x)), x)  # pyright: ignore[reportCallIssue]


class _PackedPointwise(nn.Module):
    """A pointwise convolution and the activation after it."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module):
        super().__init__()
        weight = nn.Parameter(convolution.weight.detach()[:, :, 0, 0])
        self.linear = _PackedLinear(weight, convolution.bias, activation)

    def forward(self, x: Float[Tensor, "batch channel_in row column"]) -> Float[Tensor, "batch channel_out row column"]:
        return self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def pack_linear_layers(model: nn.Module, image_shape: Sequence[int]) -> int:
    """Replace the MLPs and linear layers of `model`, and pointwise convolutions with an activation after them."""
    count = _pack_pointwise_convolutions(model) if isinstance(model, nn.Sequential) else 0
    for name, child in model.named_children():
        if type(child) is MixerBlock:
            setattr(model, name, _PackedMixerBlock(child))
        elif type(child) is Mlp:
            setattr(model, name, _packed_mlp(child))
        elif type(child) is nn.Linear:
            setattr(model, name, _packed(child))
        else:
            count += pack_linear_layers(child, image_shape)
            continue
        count += 1
    return count


def _pack_pointwise_convolutions(layers: nn.Sequential) -> int:
    pairs = [
        (index, convolution, activation)
        for index, (convolution, activation) in enumerate(pairwise(layers))
        if _is_pointwise(convolution) and isinstance(activation, nn.GELU | nn.ReLU)
    ]
    for index, convolution, activation in pairs:
        layers[index], layers[index + 1] = _PackedPointwise(convolution, activation), nn.Identity()
    return len(pairs)


def _packed_mlp(mlp: Mlp) -> nn.Sequential:
    return nn.Sequential(_packed(mlp.first, mlp.activation), _packed(mlp.second))


def _packed(linear: nn.Linear, activation: nn.Module | None = None) -> _PackedLinear:
    return _PackedLinear(linear.weight, linear.bias, activation or nn.Identity())


def _is_pointwise(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(module, nn.Conv2d)
        and (*module.kernel_size, *module.stride, module.groups) == (1, 1, 1, 1, 1)
        and module.padding in ((0, 0), "same", "valid")
    )


def _kernel(activation: nn.Module) -> tuple[str, str]:
    """The name of an activation in oneDNN, and its algorithm."""
    match activation:
        case nn.GELU():
            return "gelu", activation.approximate
        case nn.ReLU():
            return "relu", ""
        case _:
            return "none", ""


def _has_kernel(x: Tensor) -> bool:
    is_supported = x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and has_bf16_kernels())
    return x.device.type == "cpu" and is_supported and not torch.compiler.is_compiling()
