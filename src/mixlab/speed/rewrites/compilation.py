"""Training steps compiled by `torch.compile`."""

from typing import Any

import torch
from torch import Tensor, nn

_OPTIONS: dict[str, Any] = {"fallback_random": True}
"""Dropout and stochastic depth draw the random numbers of eager mode, so that the two can be compared."""


def compile_steps(model: nn.Module, count: int) -> nn.Module:
    """Compile the forward and backward passes of `model` in training mode, for `count` images.

    Passes with other numbers of images, such as that of the last batch of an epoch, and those in evaluation mode stay
    eager. Parameters and their names stay the same.
    """
    eager = model.forward
    compiled = torch.compile(eager, dynamic=False, options=_OPTIONS)

    def forward(images: Tensor) -> Tensor:
        return compiled(images) if model.training and len(images) == count else eager(images)

    model.forward = forward
    return model
