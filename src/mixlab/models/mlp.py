"""The two-layer perceptron of MLP-Mixer and DaViT, applied to the last axis."""

from jaxtyping import Float
from torch import Tensor, nn


class Mlp(nn.Module):
    def __init__(self, features: int, hidden: int, gelu: str):
        """`gelu` is "tanh", JAX's approximation, or "erf", the exact function and PyTorch's own."""
        super().__init__()
        self.first = nn.Linear(features, hidden)
        self.activation = nn.GELU(approximate="none" if gelu == "erf" else gelu)
        self.second = nn.Linear(hidden, features)

    def forward(self, x: Float[Tensor, "*axes feature"]) -> Float[Tensor, "*axes feature"]:
        return self.second(self.activation(self.first(x)))
