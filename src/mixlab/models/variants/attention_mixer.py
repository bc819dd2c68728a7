"""A Mixer with multi-head self-attention in place of the token MLPs. All other layers are unchanged.

Tolstikhin et al. 2021, section 2, describe the Mixer as a vision transformer without attention; this hybrid has
attention again. There is no position embedding, so the logits do not depend on the order of the patches.

Axes:  patch    one token per patch, in row-major order
       channel  the features of a token
"""

from jaxtyping import Float
from torch import Tensor, nn

from mixlab.models.attention import SelfAttention
from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.models.mlp import Mlp
from mixlab.models.stochastic_depth import StochasticDepth

HEAD_CHANNELS = 32


class AttentionBlock(nn.Module):
    """x + self-attention over the patches, then x + channel MLP; each branch is normalised first."""

    def __init__(self, config: MixerConfig, drop_rate: float):
        super().__init__()
        self.token_norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.attention = SelfAttention(config.channels, heads=max(config.channels // HEAD_CHANNELS, 1))
        self.channel_norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.channel_mlp = Mlp(config.channels, config.channel_hidden, config.gelu)
        self.drop = StochasticDepth(drop_rate)

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        x = x + self.drop(self.attention(self.token_norm(x)))
        return x + self.drop(self.channel_mlp(self.channel_norm(x)))


def attention_mixer(config: MixerConfig) -> Mixer:
    """Build the variant. `config.token_hidden` has no effect."""
    return Mixer(config, block=AttentionBlock)
