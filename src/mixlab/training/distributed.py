"""One process or many: who is there, what is spread over them, and what they have to agree on.

Each process sees its share of every batch, and their gradients are averaged (Accelerate, and torch's `fully_shard`).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from mixlab.errors import UserError
from mixlab.speed.plan import Precision

T = TypeVar("T")


def init_distributed(device: torch.device) -> PartialState:
    """Meet the processes that `torchrun` or `accelerate launch` has started; alone where nothing has.

    Raises UserError where others were started that this one does not see, which trained alone in silence.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    try:
        state = PartialState(cpu=device.type == "cpu")
    except ValueError as error:  # the address of the first, or another fact, is missing
        raise _not_launched(launched) from error
    if launched != state.num_processes:
        raise _not_launched(launched)
    return state


def _not_launched(launched: int) -> UserError:
    return UserError(
        f"WORLD_SIZE says that {launched} processes were started, and this one can't find the others: each would train "
        "a model of its own. Start them with torchrun or accelerate launch, or unset WORLD_SIZE."
    )


def broadcast_from_main(decide: Callable[[], T]) -> T:
    """What the first process decides, in all of them, which have joined."""
    state = PartialState()
    decided = [decide() if state.is_main_process else None]
    if state.num_processes > 1:
        broadcast_object_list(decided)
    return decided[0]  # pyright: ignore[reportReturnType]


def make_accelerator(device: torch.device, precision: Precision) -> Accelerator:
    """Accelerate's view of this training. The step casts by itself; only fp16 needs its scaling of gradients."""
    init_distributed(device)
    AcceleratorState._reset_state()  # what an earlier training of this process has left
    return Accelerator(mixed_precision="fp16" if precision == "fp16" else "no", cpu=device.type == "cpu")


def parallelize(network: nn.Module, accelerator: Accelerator, parallel: Literal["ddp", "fsdp"]) -> nn.Module:
    """The model to call, whose gradients are averaged over the processes: a copy in each, or a shard of each tensor.

    Accelerate's own plugin for shards turns to copies on a processor, in silence; torch's function does not.
    """
    if parallel == "ddp" or accelerator.num_processes == 1:
        return accelerator.prepare(network)
    body = getattr(network, "body", nn.Module())  # timm's models have none: they are gathered whole, not by blocks
    for block in body.children():
        fully_shard(block)
    fully_shard(network)
    assert all(isinstance(parameter, DTensor) for parameter in network.parameters())
    return network


@contextmanager
def no_gradient_sync(model: nn.Module, accelerator: Accelerator) -> Iterator[None]:
    """Gradients add up in this process alone: for all parts of a batch but the last."""
    if not isinstance(model, FSDPModule):
        with accelerator.no_sync(model):
            yield
        return
    model.set_requires_gradient_sync(False)
    yield
    model.set_requires_gradient_sync(True)


def gather(tensor: Tensor) -> Tensor:
    """A copy on the CPU, gathered where the tensor lies in shards; every process has to ask."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def scatter(tensor: Tensor, value: Tensor) -> None:
    """Write what `gather` gave into `tensor`, or into this process's shard of it."""
    if isinstance(tensor, DTensor):
        value = distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements)
    with torch.no_grad():
        tensor.copy_(value)


class Agreement:
    """Whether any process says yes, asked over the CPU so that no device has to be waited for."""

    def __init__(self) -> None:
        alone = PartialState().num_processes == 1
        self._group: Any = None if alone else torch.distributed.new_group(backend="gloo")

    def any(self, *answers: bool) -> list[bool]:
        if self._group is None:
            return list(answers)
        said = torch.tensor(answers, dtype=torch.uint8)
        torch.distributed.all_reduce(said, torch.distributed.ReduceOp.MAX, group=self._group)
        return [bool(answer) for answer in said]
