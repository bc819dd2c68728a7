"""MLP-Mixer's token MLP for training, without transposed copies of the tokens.

In both directions, the weights are multiplied from the left, one image at a time.

Axes:  patch, channel  as in `mixlab.models.mixer`
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.models.mixer import MixerBlock
from mixlab.models.mlp import Mlp
from mixlab.speed.kernels.gelu import Approximation, gelu_
from mixlab.speed.rewrites.autocast import autocast


class UntransposedMixerBlock(nn.Module):
    """`MixerBlock` with fewer copies in training. Its parameters and their names are those of `block`."""

    def __init__(self, block: MixerBlock):
        super().__init__()
        self.token_norm, self.token_mlp = block.token_norm, block.token_mlp
        self.channel_norm, self.channel_mlp = block.channel_norm, block.channel_mlp
        self.drop = block.drop
        self.train(block.training)

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        if not self.training:
            x = x + self.token_mlp(self.token_norm(x).mT).mT
            return x + self.channel_mlp(self.channel_norm(x))
        x = _add(x, self.drop(_mix_patches(self.token_mlp, self.token_norm(x))))
        return _add(x, self.drop(self.channel_mlp(self.channel_norm(x))))


def untranspose_mixer(model: nn.Module) -> nn.Module:
    """Replace the blocks of all Mixers in `model`. The parameters and their names stay the same."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is MixerBlock:
                setattr(module, name, UntransposedMixerBlock(child))
    return model


def has_mixer_block(model: nn.Module) -> bool:
    """Whether `untranspose_mixer` changes anything."""
    return any(type(module) is MixerBlock for module in model.modules())


def _mix_patches(mlp: Mlp, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
    hidden = gelu_(_left_linear(mlp.first, x), cast(Approximation, mlp.activation.approximate))
    return _left_linear(mlp.second, hidden)


def _left_linear(
    linear: nn.Linear, x: Float[Tensor, "batch feature_in channel"]
) -> Float[Tensor, "batch feature_out channel"]:
    weight, bias = autocast(linear.weight), autocast(linear.bias)
    return torch.baddbmm(bias[:, None], weight.expand(len(x), -1, -1), x)


def _add(x: Tensor, branch: Tensor) -> Tensor:
    """`x + branch`, in the memory of the branch if that has the type of the sum."""
    return branch.add_(x) if branch.dtype == torch.result_type(x, branch) else x + branch
