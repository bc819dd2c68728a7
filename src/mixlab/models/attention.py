"""Multi-head self-attention over all patches, as in a vision transformer."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """Vaswani et al. 2017, https://arxiv.org/abs/1706.03762 (section 3.2.2); all projections have a bias.

    `heads` divides `channels`.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        query, key, value = rearrange(
            self.query_key_value(x), "batch patch (three head d) -> three batch head patch d", three=3, head=self.heads
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.output(rearrange(mixed, "batch head patch d -> batch patch (head d)"))
