"""A Mixer over the tokens of a text: the blocks of MLP-Mixer on hashed tokens in place of patches.

pNLP-Mixer (Fusco et al. 2022, https://arxiv.org/abs/2202.04350) has this body on another projection. Token MLPs have a
fixed number of tokens, the maximum length of a text. Padding enters neither the token MLPs nor the mean over tokens, so
that the logits of a text depend on its own tokens only.

Axes:  text     texts of a batch
       token    one row per word; the last ones may be padding
       channel  the features of a token in the network
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.models.contract import require_choice, require_rate, require_sizes
from mixlab.models.hashed_tokens import HashedTokens
from mixlab.models.mixer import initialise
from mixlab.models.mlp import Mlp
from mixlab.models.stochastic_depth import StochasticDepth
from mixlab.models.text_network import TextNetwork


@dataclass(frozen=True, kw_only=True)
class TextMixerConfig:
    """Sizes of a Mixer for texts. Raises UserError if a value is out of range."""

    tokens: int = 32  # S: the maximum length of a text
    features: int = 12  # hashed features of a token
    buckets: int = 4096  # rows of the embedding
    classes: int = 2
    channels: int = 64  # C
    token_hidden: int = 32  # D_S
    channel_hidden: int = 128  # D_C
    depth: int = 2  # L
    gelu: Literal["tanh", "erf"] = "tanh"
    epsilon: float = 1e-6
    token_dropout: float = 0.0  # rate of tokens that become padding in training
    stochastic_depth: float = 0.0  # drop rate of the last block

    def __post_init__(self) -> None:
        require_sizes(self)
        require_rate("token_dropout", self.token_dropout)
        require_rate("stochastic_depth", self.stochastic_depth)
        require_choice("gelu", self.gelu, ("tanh", "erf"))

    @property
    def input_shape(self) -> tuple[int, int]:
        """(token, feature) of a text."""
        return self.tokens, self.features


class MaskedMixerBlock(nn.Module):
    """The block of MLP-Mixer, with padding set to 0 before the token MLP."""

    def __init__(self, config: TextMixerConfig, drop_rate: float):
        super().__init__()
        self.token_norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.token_mlp = Mlp(config.tokens, config.token_hidden, config.gelu)
        self.channel_norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.channel_mlp = Mlp(config.channels, config.channel_hidden, config.gelu)
        self.drop = StochasticDepth(drop_rate)
        self._tokens = config.tokens

    def forward(
        self, x: Float[Tensor, "text token channel"], present: Bool[Tensor, "text token"]
    ) -> Float[Tensor, "text token channel"]:
        shown = (self.token_norm(x) * present[..., None]).mT
        mixed = self.token_mlp(F.pad(shown, (0, self._tokens - x.shape[1])))[..., : x.shape[1]].mT
        x = x + self.drop(mixed)
        return x + self.drop(self.channel_mlp(self.channel_norm(x)))


def text_mixer(config: TextMixerConfig) -> TextNetwork:
    """Build the variant."""
    stem = HashedTokens(config.buckets, config.channels, config.token_dropout)
    network = TextNetwork(config, stem, partial(MaskedMixerBlock, config))
    network.body.apply(initialise)
    return network
