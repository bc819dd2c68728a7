"""DaViT with other pairs of attention: windows only, channels only, or both in the reverse order.

Ding et al. 2022, https://arxiv.org/abs/2204.03645, compare these pairs. Attention modules are replaced, not removed:
window and channel attention have the same parameters, so all pairs have the parameters of DaViT, by the same names,
and with the same seed also the same initial weights. Only the products of attention differ in multiply-accumulates: per
patch, `window ** 2` for windows against `channels / heads` for channels, both times 2 x channels. They are equal if the
heads are `window ** 2` channels wide.

Window attention is local only where the grid of a stage is larger than the window: a study of local against global
mixing needs at least 2 x 2 windows in every stage.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from mixlab.models.contract import require_choice
from mixlab.models.davit import (
    ChannelAttention,
    DaViT,
    DaViTBlock,
    DaViTConfig,
    DaViTStage,
    WindowAttention,
    mix_channels,
    mix_channels_florence2,
)

PAIRS = ("window-channel", "window-window", "channel-channel", "channel-window")


@dataclass(frozen=True, kw_only=True)
class AblatedDaViTConfig(DaViTConfig):
    """A DaViT's config, and the attention of the two blocks of each pair. "window-channel" is DaViT."""

    attention: Literal["window-channel", "window-window", "channel-channel", "channel-window"]

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("attention", self.attention, PAIRS)


def ablated_davit(config: AblatedDaViTConfig) -> DaViT:
    """Build the variant."""
    model = DaViT(config)
    pair = config.attention.split("-")
    for stage, channels, heads in zip(model.body, config.channels, config.heads, strict=True):
        assert isinstance(stage, DaViTStage)
        for index, block in enumerate(stage.blocks):
            assert isinstance(block, DaViTBlock)
            attention = _attention(pair[index % 2], channels, heads, config)
            attention.load_state_dict(block.attention.state_dict())
            block.attention = attention
    return model


def _attention(kind: str, channels: int, heads: int, config: DaViTConfig) -> nn.Module:
    if kind == "window":
        return WindowAttention(channels, heads, config.window)
    mix = mix_channels if config.channel_attention == "davit" else mix_channels_florence2
    return ChannelAttention(channels, heads, mix)
