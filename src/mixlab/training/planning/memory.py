"""The memory of a training step, estimated from tensor shapes, and whether it is available."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from math import ceil, prod
from typing import Any, TypeVar

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn

from mixlab.measure.activations import activation_bytes
from mixlab.measure.memory import available_bytes
from mixlab.speed.plan import FreedMemory, Plan
from mixlab.training.activation_checkpointing import blocks_of
from mixlab.training.job import Job
from mixlab.training.optimizer import build_optimizers
from mixlab.training.recipes.schema import Recipe
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.zoo.timm_models import TimmModel

T = TypeVar("T")

_TENSORS_PER_PARAMETER = {torch.optim.AdamW: 2, torch.optim.SGD: 1, torch.optim.Muon: 1}

_MARGIN = 3
"""The multiple of the estimated memory that must be available to retain freed memory, or to run several trainings at
the same time."""

_MOST_MEMORY: Mapping[FreedMemory, float] = {"released": 1, "retained": 2}
"""The most memory that was measured for a training, as a multiple of the estimate. Retained memory is fragmented."""


def fits(job: Job, plan: Plan, margin: float = _MARGIN) -> bool:
    """Whether `margin` times the estimated memory of all processes and all trainings at the same time is available.

    On CUDA devices, each process has its own one.
    """
    if job.device.type == "cuda":
        available, _ = torch.cuda.mem_get_info()
        number = plan.concurrent
    else:
        available = available_bytes()
        number = plan.concurrent * plan.processes
    return number * margin * sum(estimate_memory(job, plan, job.architecture.on_meta()).values()) < available


def has_memory(job: Job, plan: Plan) -> bool:
    """Whether the memory of a training under this plan is available, as much as was measured at most."""
    return fits(job, plan, _MOST_MEMORY[plan.freed_memory])


def is_out_of_memory(error: Exception) -> bool:
    """Whether the error is a lack of memory, on any device."""
    return isinstance(error, MemoryError) or should_reduce_batch_size(error)


def unless_out_of_memory(call: Callable[[], T]) -> T | None:
    """The result of `call`; None if memory runs out, in this process or in one of a pool that `call` uses."""
    try:
        return call()
    except BrokenProcessPool:
        return None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def estimate_memory(job: Job, plan: Plan, network: nn.Module) -> dict[str, int]:
    """Estimated bytes of one process by purpose, at the peak: after the forward pass of the last micro-batch.

    `network` is the model of `job`, which may be on the meta device. The unfolded inputs of convolutions in bf16, which
    PyTorch needs on a CPU without instructions for bf16, are not included.
    """
    recipe, teacher = job.recipe, _teacher(job.recipe)
    class_weights = job.task.class_weights(recipe.loss, job.dataset.splits["train"].labels, job.dataset.classes)
    several = plan.processes > 1
    shards = plan.processes if recipe.parallel == "fsdp" else 1
    weights = _bytes(network.state_dict().values())
    trained = _bytes(parameter for parameter in network.parameters() if parameter.requires_grad)
    # other devices than CUDA are assumed to save the same activations as a CPU, which is always available
    device = job.device if job.device.type == "cuda" else torch.device("cpu")
    sizes = {
        "parameters": weights // shards,
        "gradients": trained // shards,
        "gradient buckets of DDP": trained if several and shards == 1 else 0,
        f"optimiser state ({recipe.optimizer.name})": _state_bytes(job, network) // shards,
        "EMA of the weights": weights // shards if recipe.ema else 0,
        "copy of the parameters for SAM": trained // shards if recipe.optimizer.sam_rho else 0,
        "teacher": _bytes(teacher.state_dict().values()) if teacher else 0,
        f"{job.dataset.noun}s": _input_bytes(job) * ceil(job.batch / plan.processes),
        "activations for the backward pass": _activation_bytes(
            job,
            network,
            (plan.images_per_pass(job.batch), *job.preprocess.input_shape),
            lambda outputs, images: job.task.loss(outputs, job.task.blank_targets(outputs), recipe.loss, class_weights),
            device=device,
            cast=partial(plan.forward_context, device),
            dtype=torch.int64 if job.architecture.reads_texts else None,
        ),
    }
    return {purpose: size for purpose, size in sizes.items() if size}


def _activation_bytes(
    job: Job,
    network: nn.Module,
    images_shape: tuple[int, ...],
    loss: Callable[[Tensor, Tensor], Tensor],
    **options: Any,
) -> int:
    """`activation_bytes`; with activation checkpointing, those of all blocks but the largest one are not saved.

    timm's models have no common name for their blocks, so their estimate is that without checkpointing.
    """
    everything = activation_bytes(network, images_shape, loss, **options)
    if job.recipe.activation_checkpointing == "off" or isinstance(network, TimmModel):
        return everything
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    handles = [
        block.register_forward_pre_hook(lambda block, given: shapes.update({block: tuple(given[0].shape)}))
        for block in blocks_of(network)
    ]
    activation_bytes(network, images_shape, loss, **options)
    for handle in handles:
        handle.remove()
    of_blocks = [
        activation_bytes(block, shape, lambda outputs, _: outputs.float().sum(), **options)
        for block, shape in shapes.items()
    ]
    return everything - sum(of_blocks) + max(of_blocks)


def _teacher(recipe: Recipe) -> nn.Module | None:
    return build_with_weights(load_pretrained(recipe.distillation.teacher).weights) if recipe.distillation else None


def _state_bytes(job: Job, network: nn.Module) -> int:
    total = 0
    for optimizer in build_optimizers(job.recipe.optimizer, network):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        total += _TENSORS_PER_PARAMETER[type(optimizer)] * _bytes(parameters)
    return total


def image_bytes(job: Job) -> int:
    """The bytes of a resized RGB image in uint8, or of a hashed text."""
    return prod(job.preprocess.input_shape) * job.preprocess.dtype.itemsize


def _input_bytes(job: Job) -> int:
    """The bytes of an input of the network: fp32 for an image, int64 for a text."""
    return prod(job.preprocess.input_shape) * (8 if job.architecture.reads_texts else 4)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
