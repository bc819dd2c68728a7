"""Activation checkpointing: blocks whose activations are computed again in the backward pass.

Only the input of a block is saved in the forward pass, which takes less memory and one more forward pass of the block.
Chen et al. 2016, https://arxiv.org/abs/1604.06174.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mixlab.speed.plan import Plan, prepare_for_training
from mixlab.speed.training_rewrites import TrainingRewrites
from mixlab.training.job import Job
from mixlab.zoo.timm_models import TimmModel


def build_for_steps(job: Job, device: torch.device, plan: Plan) -> nn.Module:
    """A new model of `job`, as the training steps of `plan` execute it."""
    network = prepare_for_training(job.build(), device, plan, job.batch)
    return checkpointed(network, plan.rewrites) if job.recipe.activation_checkpointing == "blocks" else network


def checkpointed(network: nn.Module, rewrites: TrainingRewrites) -> nn.Module:
    """Make `network` compute its blocks again in the backward pass. Gradients and names of parameters stay the same.

    rewrites  in whose context the network is executed
    """
    if isinstance(network, TimmModel):
        network.network.set_grad_checkpointing()
    else:
        for block in blocks_of(network):
            block.forward = partial(_forward, block, block.forward, rewrites)
    return network


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network with a `body`; those of a DaViT are in its stages."""
    body = network.get_submodule("body")
    return [block for child in body.children() for block in getattr(child, "blocks", [child])]


def _forward(block: nn.Module, forward: Any, rewrites: TrainingRewrites, x: Any) -> Any:
    if not block.training:
        return forward(x)
    contexts = partial(_contexts, block, rewrites)
    return checkpoint(forward, x, use_reentrant=False, context_fn=contexts)


def _contexts(block: nn.Module, rewrites: TrainingRewrites) -> tuple[Any, Any]:
    """The contexts of the first forward pass, which is in that of the rewrites already, and of the second one."""
    return nullcontext(), _second_pass(block, rewrites)


@contextmanager
def _second_pass(block: nn.Module, rewrites: TrainingRewrites) -> Iterator[None]:
    """The running statistics of batch normalisation are updated in the first pass only."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]  # pyright: ignore
    for norm in norms:
        norm.momentum = 0.0
    try:
        with rewrites.forward_context():
            yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)  # pyright: ignore
