"""A Mixer with less tied weights: token MLPs for channels or groups of channels, and channel MLPs for patches.

A Mixer applies one token MLP to all channels, and one channel MLP to all patches. Tolstikhin et al. 2021,
https://arxiv.org/abs/2105.01601 (appendix A.1), untie the token MLP. Untying multiplies the parameters of an MLP by the
number of its copies, and changes neither the multiply-accumulates nor the initial distribution of the outputs.

Axes:  patch    one token per patch, in row-major order
       channel  the features of a token
       group    items (channels, or patches) with the same weights
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.models.contract import require_choice
from mixlab.models.mixer import Mixer, MixerConfig, lecun_normal_
from mixlab.models.mlp import Mlp
from mixlab.models.stochastic_depth import StochasticDepth


@dataclass(frozen=True, kw_only=True)
class UntiedMixerConfig(MixerConfig):
    """A Mixer's config, and which weights are tied. With both "shared", the network is a Mixer."""

    token_weights: Literal["shared", "grouped", "per-channel"]
    channel_weights: Literal["shared", "per-patch"]
    token_groups: int = 4  # groups of consecutive channels, for token_weights="grouped"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("token_weights", self.token_weights, ("shared", "grouped", "per-channel"))
        require_choice("channel_weights", self.channel_weights, ("shared", "per-patch"))
        if self.token_weights == "grouped" and self.channels % self.token_groups:
            raise UserError(
                f"channels={self.channels} is not a multiple of token_groups={self.token_groups}: all groups have the "
                "same number of channels. Change one of them."
            )


class UntiedMixerBlock(nn.Module):
    """x + token MLPs, then x + channel MLPs, each on the normalised input (pre-norm)."""

    def __init__(self, config: MixerConfig, drop_rate: float):
        assert isinstance(config, UntiedMixerConfig)
        super().__init__()
        self.token_norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.token_mlp = _token_mlp(config)
        self.channel_norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.channel_mlp = _channel_mlp(config)
        self.drop = StochasticDepth(drop_rate)

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        x = x + self.drop(self.token_mlp(self.token_norm(x).mT).mT)
        return x + self.drop(self.channel_mlp(self.channel_norm(x)))


class GroupedMlp(nn.Module):
    """An `Mlp` on the last axis, with separate weights for each of `groups` groups of consecutive items."""

    def __init__(self, groups: int, features: int, hidden: int, gelu: str):
        super().__init__()
        self.groups = groups
        self.first = GroupedLinear(groups, features, hidden)
        self.activation = nn.GELU(approximate="none" if gelu == "erf" else gelu)
        self.second = GroupedLinear(groups, hidden, features)

    def forward(self, x: Float[Tensor, "batch item feature"]) -> Float[Tensor, "batch item feature"]:
        grouped = rearrange(x, "batch (group member) feature -> group (batch member) feature", group=self.groups)
        mixed = self.second(self.activation(self.first(grouped)))
        members = x.shape[1] // self.groups
        return rearrange(mixed, "group (batch member) feature -> batch (group member) feature", member=members)


class GroupedLinear(nn.Module):
    """A linear layer with separate weights for each group, initialised as each layer of a Mixer."""

    def __init__(self, groups: int, features_in: int, features_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, features_out, features_in))
        # flat, because optimizers recognise a bias, which has no weight decay, by its single axis
        self.bias = nn.Parameter(torch.zeros(groups * features_out))
        lecun_normal_(self.weight, fan_in=features_in)

    def forward(self, x: Float[Tensor, "group item feature_in"]) -> Float[Tensor, "group item feature_out"]:
        bias = rearrange(self.bias, "(group feature) -> group 1 feature", group=len(self.weight))
        return torch.baddbmm(bias, x, self.weight.mT)


def untied_mixer(config: UntiedMixerConfig) -> Mixer:
    """Build the variant."""
    return Mixer(config, block=UntiedMixerBlock)


def _token_mlp(config: UntiedMixerConfig) -> Mlp | GroupedMlp:
    match config.token_weights:
        case "shared":
            return Mlp(config.patches, config.token_hidden, config.gelu)
        case "grouped":
            return GroupedMlp(config.token_groups, config.patches, config.token_hidden, config.gelu)
        case "per-channel":
            return GroupedMlp(config.channels, config.patches, config.token_hidden, config.gelu)


def _channel_mlp(config: UntiedMixerConfig) -> Mlp | GroupedMlp:
    match config.channel_weights:
        case "shared":
            return Mlp(config.channels, config.channel_hidden, config.gelu)
        case "per-patch":
            return GroupedMlp(config.patches, config.channels, config.channel_hidden, config.gelu)
