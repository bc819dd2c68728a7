"""Activation checkpointing: blocks whose activations are computed again in the backward pass.

Only the input of a block is saved in the forward pass, which takes less memory and one more forward pass of the block.
Chen et al. 2016, https://arxiv.org/abs/1604.06174.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mixlab.errors import UserError
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

    Raises UserError for a model of timm that has no activation checkpointing.
    """
    if isinstance(network, TimmModel):
        _checkpoint_timm(network)
    else:
        for block in blocks_of(network):
            block.forward = partial(_forward, block, block.forward, rewrites)
    return network


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network with a `body`; those of a DaViT are in its stages."""
    body = network.get_submodule("body")
    return [block for child in body.children() for block in getattr(child, "blocks", [child])]


def _checkpoint_timm(network: TimmModel) -> None:
    try:
        network.network.set_grad_checkpointing()
    except (AssertionError, AttributeError, TypeError) as error:
        raise UserError(
            f"timm has no activation checkpointing for {network.config.name}: remove activation_checkpointing, or use "
            "another model."
        ) from error
    for norm in _norms_with_statistics(network):
        norm.forward = partial(_forward_of_norm, norm, norm.forward)


def _forward_of_norm(norm: _BatchNorm, forward: Any, input: Any) -> Any:
    is_second_pass = torch._C._current_graph_task_id() != -1  # the id of the backward pass that is running
    with _statistics_unchanged([norm]) if is_second_pass else nullcontext():
        return forward(input)


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
    with _statistics_unchanged(_norms_with_statistics(block)), rewrites.forward_context():
        yield


def _norms_with_statistics(block: nn.Module) -> list[_BatchNorm]:
    return [module for module in block.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


@contextmanager
def _statistics_unchanged(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]  # pyright: ignore
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)  # pyright: ignore
