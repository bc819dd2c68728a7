"""Conversion of the arguments of operations that PyTorch's autocast does not know."""

import torch
from torch import Tensor


def autocast(tensor: Tensor) -> Tensor:
    """The tensor in the type of the autocast context; unchanged outside of one."""
    device = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else tensor
