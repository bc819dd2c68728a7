"""Training steps compiled by `torch.compile`."""

from typing import Any

import torch
from torch import Tensor, nn

_OPTIONS: dict[str, Any] = {"fallback_random": True}
"""Dropout and stochastic depth draw the random numbers of eager mode, so that the two can be compared."""


def compile_steps(model: nn.Module) -> nn.Module:
    """Compile the forward and backward passes of `model` at its first forward pass in training mode.

    The code is compiled for this number of images. Other numbers, such as that of the last batch of an epoch, and the
    forward pass in evaluation mode stay eager. Parameters and their names stay the same.
    """
    eager = model.forward
    compiled = torch.compile(eager, dynamic=False, options=_OPTIONS)
    compiled_images: int | None = None

    def forward(images: Tensor) -> Tensor:
        nonlocal compiled_images
        if not model.training:
            return eager(images)
        if compiled_images is None:
            compiled_images = len(images)
        return compiled(images) if len(images) == compiled_images else eager(images)

    model.forward = forward
    return model
