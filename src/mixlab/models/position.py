"""Position embeddings: vectors that are added to the tokens, one for each patch, learned or fixed."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class LearnedPosition(nn.Module):
    """Adds a learned vector to each patch, at first normal with standard deviation 0.02 as in the authors' ViT."""

    def __init__(self, patches: int, channels: int):
        super().__init__()
        self.embedding = nn.Parameter(0.02 * torch.randn(patches, channels))

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        return x + self.embedding


class SincosPosition(nn.Module):
    """Adds fixed sines and cosines of the row and the column (Chen et al. 2021, https://arxiv.org/abs/2104.02057)."""

    embedding: Tensor

    def __init__(self, grid: tuple[int, int], channels: int):
        super().__init__()
        self.register_buffer("embedding", sincos(grid, channels))

    def forward(self, x: Float[Tensor, "batch patch channel"]) -> Float[Tensor, "batch patch channel"]:
        return x + self.embedding


def sincos(grid: tuple[int, int], channels: int) -> Float[Tensor, "patch channel"]:
    """Sine of row, sine of column, cosine of row, cosine of column; each in channels / 4 frequencies, 1 to 1e-4."""
    frequencies = 10_000 ** -(torch.arange(channels // 4) / (channels // 4))
    positions = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1]))
    angles = rearrange(positions[..., None] * frequencies, "patch side frequency -> patch (side frequency)")
    return torch.cat([angles.sin(), angles.cos()], dim=1)
