"""A Mixer with the mean over all patches in place of the token MLPs: an ablation without learned token mixing.

The same mean is added to every patch, so the logits do not depend on the order of the patches.

Axes:  patch    one token per patch, in row-major order
       channel  the features of a token
"""

from jaxtyping import Float
from torch import Tensor, nn

from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.models.mlp import Mlp
from mixlab.models.stochastic_depth import StochasticDepth


class PoolingBlock(nn.Module):
    """x + mean over the patches, then x + channel MLP; each branch is normalised first."""

    def __init__(self, config: MixerConfig, drop_rate: float):
        super().__init__()
        self.token_norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.channel_norm = nn.LayerNorm(config.channels, eps=config.epsilon)
        self.channel_mlp = Mlp(config.channels, config.channel_hidden, config.gelu)
        self.drop = StochasticDepth(drop_rate)

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        x = x + self.drop(self.token_norm(x).mean(dim=1, keepdim=True))
        return x + self.drop(self.channel_mlp(self.channel_norm(x)))


def pooling_mixer(config: MixerConfig) -> Mixer:
    """Build the variant. `config.token_hidden` has no effect."""
    return Mixer(config, block=PoolingBlock)
