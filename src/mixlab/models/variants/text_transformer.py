"""A small Transformer encoder over the tokens of a text, to compare with `text_mixer`: same stem, pooling and head.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, with normalisation before each branch and learned positions.
Padding is masked in the attention and in the mean over tokens.

Axes:  text     texts of a batch
       token    one row per word; the last ones may be padding
       feature  hashed features of a token
       channel  the features of a token in the network
"""

from dataclasses import dataclass
from functools import partial

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.errors import UserError
from mixlab.models.contract import require_rate, require_sizes
from mixlab.models.hashed_tokens import INITIAL_DEVIATION, HashedTokens
from mixlab.models.mlp import Mlp
from mixlab.models.stochastic_depth import StochasticDepth
from mixlab.models.text_network import TextNetwork


@dataclass(frozen=True, kw_only=True)
class TextTransformerConfig:
    """Sizes of a Transformer encoder for texts. Raises UserError if a value is out of range."""

    tokens: int = 32  # the maximum length of a text
    features: int = 12  # hashed features of a token
    buckets: int = 4096  # rows of the embedding
    classes: int = 2
    channels: int = 64
    heads: int = 4
    channel_hidden: int = 128
    depth: int = 2
    epsilon: float = 1e-6
    token_dropout: float = 0.0  # rate of tokens that become padding in training
    stochastic_depth: float = 0.0  # drop rate of the last block

    def __post_init__(self) -> None:
        require_sizes(self)
        require_rate("token_dropout", self.token_dropout)
        require_rate("stochastic_depth", self.stochastic_depth)
        if self.channels % self.heads:
            raise UserError(f"channels={self.channels} is not a multiple of heads={self.heads}: change one of them.")

    @property
    def input_shape(self) -> tuple[int, int]:
        """(token, feature) of a text."""
        return self.tokens, self.features


class PositionedTokens(nn.Module):
    """`HashedTokens` with a learned vector for each place in the text."""

    def __init__(self, config: TextTransformerConfig):
        super().__init__()
        self.hashed = HashedTokens(config.buckets, config.channels, config.token_dropout)
        self.positions = nn.Parameter(torch.empty(config.tokens, config.channels).normal_(std=INITIAL_DEVIATION))

    def forward(
        self, texts: Integer[Tensor, "text token feature"]
    ) -> tuple[Float[Tensor, "text token channel"], Bool[Tensor, "text token"]]:
        x, present = self.hashed(texts)
        return x + self.positions[: texts.shape[1]], present


class MaskedAttentionBlock(nn.Module):
    """x + self-attention to the tokens that are present, then x + MLP; each branch is normalised first."""

    def __init__(self, config: TextTransformerConfig, drop_rate: float):
        super().__init__()
        self.heads = config.heads
        self.token_norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.query_key_value = nn.Linear(config.channels, 3 * config.channels)
        self.output = nn.Linear(config.channels, config.channels)
        self.channel_norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.channel_mlp = Mlp(config.channels, config.channel_hidden, "tanh")
        self.drop = StochasticDepth(drop_rate)

    def forward(
        self, x: Float[Tensor, "text token channel"], present: Bool[Tensor, "text token"]
    ) -> Float[Tensor, "text token channel"]:
        query, key, value = rearrange(
            self.query_key_value(self.token_norm(x)),
            "text token (three head d) -> three text head token d",
            three=3,
            head=self.heads,
        )
        attended = present | ~present.any(dim=1, keepdim=True)  # a text without tokens attends to padding
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attended[:, None, None])
        x = x + self.drop(self.output(rearrange(mixed, "text head token d -> text token (head d)")))
        return x + self.drop(self.channel_mlp(self.channel_norm(x)))


def text_transformer(config: TextTransformerConfig) -> TextNetwork:
    """Build the variant."""
    return TextNetwork(config, PositionedTokens(config), partial(MaskedAttentionBlock, config))
