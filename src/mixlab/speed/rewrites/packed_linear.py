"""Linear layers whose weights oneDNN has arranged for its kernels, with the GELU after them in the same kernel.

PyTorch arranges the weights again in every call, and computes the GELU in a pass of its own.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.models.mlp import Mlp


class _PackedLinear(nn.Module):
    """A linear layer in evaluation mode; where oneDNN has no kernel for the input, PyTorch's."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self._packed: Tensor | None = None

    def forward(self, x: Float[Tensor, "*axes feature_in"]) -> Float[Tensor, "*axes feature_out"]:
        return self._linear(x, "none", "") if _has_kernel(x) else F.linear(x, self.weight, self.bias)

    def _linear(self, x: Tensor, activation: str, algorithm: str) -> Tensor:
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, x.numel() // x.shape[-1])
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, activation, [], algorithm)


class _PackedLinearGelu(_PackedLinear):
    """A linear layer and the GELU after it."""

    def __init__(self, linear: nn.Linear, gelu: nn.GELU):
        super().__init__(linear)
        self.gelu = gelu

    def forward(self, x: Float[Tensor, "*axes feature_in"]) -> Float[Tensor, "*axes feature_out"]:
        if _has_kernel(x):
            return self._linear(x, "gelu", self.gelu.approximate)
        return self.gelu(F.linear(x, self.weight, self.bias))


def pack_linear_layers(model: nn.Module, _image_shape: Sequence[int]) -> int:
    """Replace the MLPs and linear layers of `model`."""
    count = 0
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is Mlp:
                packed = nn.Sequential(_PackedLinearGelu(child.first, child.activation), _PackedLinear(child.second))
            elif type(child) is nn.Linear:
                packed = _PackedLinear(child)
            else:
                continue
            setattr(parent, name, packed)
            count += 1
    return count


def _has_kernel(x: Tensor) -> bool:
    is_supported = x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and _has_bfloat16())
    return x.device.type == "cpu" and is_supported and not torch.compiler.is_compiling()


def _has_bfloat16() -> bool:
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
