"""Stochastic depth: during training, residual branches are dropped at random, separately for each image.

Huang et al. 2016, https://arxiv.org/abs/1603.09382. The drop rate increases linearly with depth, from 0 at the first
branch.
"""

from jaxtyping import Float
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Sets a residual branch to 0 with probability `rate` for each image; the identity in evaluation mode."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, branch: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        if not self.training or self.rate == 0:
            return branch
        per_image_shape = (branch.shape[0],) + (1,) * (branch.dim() - 1)
        mask = branch.new_empty(per_image_shape).bernoulli_(1 - self.rate)
        return branch * (mask / (1 - self.rate))  # rescaled, so that the expected value equals that in evaluation

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


def linear_ramp(rate: float, branches: int) -> list[float]:
    """`branches` drop rates increasing linearly from 0 to `rate`; a single branch has rate 0."""
    return [rate * index / max(branches - 1, 1) for index in range(branches)]
