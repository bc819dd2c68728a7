"""Stochastic depth, which leaves out a residual branch for some of the images while training.

Huang et al. 2016, https://arxiv.org/abs/1603.09382. The rate grows linearly with depth, from 0 at the first branch.
"""

from jaxtyping import Float
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, branch: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        if not self.training or self.rate == 0:
            return branch
        per_image_shape = (branch.shape[0],) + (1,) * (branch.dim() - 1)
        kept = branch.new_empty(per_image_shape).bernoulli_(1 - self.rate)
        return branch * (kept / (1 - self.rate))  # rescaled: the expected branch is evaluation's

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


def linear_ramp(rate: float, branches: int) -> list[float]:
    """`branches` rates from 0 to `rate`; a single branch is never left out."""
    return [rate * index / max(branches - 1, 1) for index in range(branches)]
