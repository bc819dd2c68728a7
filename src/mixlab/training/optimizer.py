"""The optimiser of a recipe."""

import torch
from torch import nn

from mixlab.training.sections import Optimizer


def build_optimizer(settings: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """Matrices and kernels decay; biases and the norms' scales, which have one axis, do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon)
