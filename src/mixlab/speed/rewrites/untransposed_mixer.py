"""The token MLP of a Mixer without transposed copies: its weights are multiplied from the left.

Axes:  patch, channel  as in `mixlab.models.mixer`
       hidden          hidden units of the token MLP
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.models.mixer import MixerBlock


class _UntransposedMixerBlock(nn.Module):
    """A `MixerBlock` in evaluation mode."""

    def __init__(self, block: MixerBlock):
        super().__init__()
        self.block = block

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        block = self.block
        mlp = block.token_mlp
        hidden = mlp.activation(_left_linear(mlp.first, block.token_norm(x)))
        x = _left_linear(mlp.second, hidden).add_(x)
        return block.channel_mlp(block.channel_norm(x)).add_(x)


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


def _left_linear(
    linear: nn.Linear, x: Float[Tensor, "batch token_in channel"]
) -> Float[Tensor, "batch token_out channel"]:
    """A linear layer on the axis of the tokens."""
    return torch.baddbmm(linear.bias[:, None], linear.weight.expand(len(x), -1, -1), x)
