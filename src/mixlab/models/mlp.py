"""The two-layer perceptron of MLP-Mixer and DaViT."""

from jaxtyping import Float
from torch import Tensor, nn


class Mlp(nn.Module):
    """Linear, GELU, linear on the last axis; input and output have `features` values, with `hidden` in between."""

    def __init__(self, features: int, hidden: int, gelu: str):
        """`gelu` is "tanh" (the approximation, JAX's default) or "erf" (the exact function, PyTorch's default)."""
        super().__init__()
        self.first = nn.Linear(features, hidden)
        self.activation = nn.GELU(approximate="none" if gelu == "erf" else gelu)
        self.second = nn.Linear(hidden, features)

    def forward(self, x: Float[Tensor, "*axes feature"]) -> Float[Tensor, "*axes feature"]:
        return self.second(self.activation(self.first(x)))
