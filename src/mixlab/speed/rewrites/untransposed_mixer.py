"""The token MLP of a Mixer without transposed copies: its weights are multiplied from the left.

Axes:  patch, channel       as in `mixlab.models.mixer`
       token_in, token_out  features of a layer of the token MLP
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.models.mixer import MixerBlock


class _LeftLinear(nn.Module):
    """A linear layer on the axis of the tokens."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Float[Tensor, "batch token_in channel"]) -> Float[Tensor, "batch token_out channel"]:
        return torch.baddbmm(self.bias[:, None], self.weight.expand(len(x), -1, -1), x)


class _UntransposedMixerBlock(nn.Module):
    """A `MixerBlock` in evaluation mode."""

    def __init__(self, block: MixerBlock):
        super().__init__()
        mlp = block.token_mlp
        self.token_norm = block.token_norm
        self.token_mlp = nn.Sequential(_LeftLinear(mlp.first), mlp.activation, _LeftLinear(mlp.second))
        self.channel_norm, self.channel_mlp = block.channel_norm, block.channel_mlp

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        x = self.token_mlp(self.token_norm(x)).add_(x)
        return self.channel_mlp(self.channel_norm(x)).add_(x)


def avoid_transposes(model: nn.Module, _image_shape: Sequence[int]) -> int:
    """Replace the blocks of all Mixers in `model`."""
    blocks = [
        (parent, name, block)
        for parent in model.modules()
        for name, block in parent.named_children()
        if type(block) is MixerBlock
    ]
    for parent, name, block in blocks:
        setattr(parent, name, _UntransposedMixerBlock(block))
    return len(blocks)
