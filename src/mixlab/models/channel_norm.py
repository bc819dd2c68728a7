"""LayerNorm for feature maps: over the channels of each position, as for the tokens of a Mixer."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """`nn.LayerNorm` over the channels of feature maps; positions and images do not mix."""

    def __init__(self, channels: int, epsilon: float):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=epsilon)

    def forward(self, x: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch channel row column"]:
        normed = self.norm(rearrange(x, "batch channel row column -> batch row column channel"))
        return rearrange(normed, "batch row column channel -> batch channel row column")
