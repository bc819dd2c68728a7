"""Feature pyramids: four maps with strides of 4, 8, 16 and 32 pixels, also from networks with a single map.

A network with one map gets ViTDet's simple feature pyramid (Li et al. 2022, https://arxiv.org/abs/2203.16527, section
3.1): each level is computed from the last map alone, by transposed convolutions or pooling.
"""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

LEVELS = 4
FINEST = 4
"""Pixels between the places of the finest level."""


class Pyramid(nn.Module):
    """The maps of a network with several of them, or a simple feature pyramid of the only one.

    channels  of the maps of the network
    stride    pixels between the places of its first map
    """

    def __init__(self, channels: Sequence[int], stride: int):
        super().__init__()
        self.levels = nn.ModuleList()
        self.channels = tuple(channels)
        if len(channels) == 1:
            doublings = round(math.log2(stride / FINEST))
            self.levels.extend(_level(channels[0], doublings - level) for level in range(LEVELS))
            self.channels = (channels[0],) * LEVELS

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _channel _row _column"]]
    ) -> list[Float[Tensor, "batch _channel _row _column"]]:
        return [level(maps[0]) for level in self.levels] if self.levels else list(maps)


def _level(channels: int, doublings: int) -> nn.Module:
    """Changes the resolution by 2 to the power of `doublings`."""
    if doublings <= 0:
        return nn.MaxPool2d(2**-doublings, ceil_mode=True) if doublings else nn.Identity()
    steps: list[nn.Module] = []
    for step in range(doublings):
        steps += [nn.GELU()] if step else []
        steps.append(nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2))
    return nn.Sequential(*steps)
