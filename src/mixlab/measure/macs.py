"""Number of parameters of a model, and number of multiply-accumulates per image."""

from itertools import chain

import torch
from torch import nn
from torch.func import functional_call


def count_parameters(model: nn.Module) -> int:
    """Number of parameters; a parameter shared by several modules is counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, image_shape: tuple[int, ...], dtype: torch.dtype | None = None) -> int:
    """Number of multiply-accumulates for one image of shape (channel, height, width), in evaluation mode.

    `image_shape` and `dtype` are those of one input for models that have other inputs than images.

    Matrix products and convolutions (depthwise ones too) are counted; normalisation, activations, softmax and
    pooling are not. The model runs on the meta device, so nothing is computed. Its weights, its device and its
    training mode do not change.
    """
    from torch.utils.flop_counter import FlopCounterMode  # loads all decompositions of operators, for 0.3 s

    shapes = {
        name: tensor.detach().to("meta") for name, tensor in chain(model.named_parameters(), model.named_buffers())
    }
    image = torch.empty(1, *image_shape, dtype=dtype, device="meta")
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            functional_call(model, shapes, (image,))
    finally:
        for module, training in modes.items():
            module.training = training
    return counter.get_total_flops() // 2  # a multiply-accumulate is two operations
