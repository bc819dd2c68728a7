"""Distributed training: start-up, data parallelism, sharding, and collective operations.

Each process computes its share of every batch. The gradients are averaged by Accelerate's DistributedDataParallel or by
torch's `fully_shard`. All functions also work with a single process.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn
from torch.distributed import DistError, distributed_c10d
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from mixlab.errors import UserError
from mixlab.files import translate_access_errors
from mixlab.speed.plan import Precision

T = TypeVar("T")

_ERROR = "mixlab/error"
"""The key of the error in the store by which the processes found each other."""


def init_distributed(device: torch.device) -> PartialState:
    """Initialize the process group that `torchrun` or `accelerate launch` set up; without one, nothing is initialized.

    A GPU with an index, such as "cuda:1", becomes the current one, which Accelerate uses.

    Raises UserError if more processes were launched than can be reached: each would train a model of its own.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    try:
        state = PartialState(cpu=device.type == "cpu")
    except ValueError as error:  # an environment variable such as MASTER_ADDR is missing
        raise _not_launched(launched) from error
    if launched != state.num_processes:
        raise _not_launched(launched)
    return state


def _not_launched(launched: int) -> UserError:
    return UserError(
        f"WORLD_SIZE={launched}, but this process can't reach the others: each would train a model of its own. Start "
        "the processes with torchrun or accelerate launch, or unset WORLD_SIZE."
    )


@contextmanager
def error_on_all_ranks() -> Iterator[None]:
    """Within the context, a UserError of one process is raised in all of them.

    The process with the error must end. This interrupts the collective operations in which the others wait for it.
    """
    if PartialState().num_processes == 1:
        yield
        return
    try:
        with translate_access_errors():
            yield
    except UserError as error:
        with suppress(DistError):  # the process with the store has ended, with an error of its own
            distributed_c10d._get_default_store().set(_ERROR, str(error))
        raise
    except RuntimeError as interrupted:
        reason = _error_of_another()
        if reason is None:
            raise
        raise UserError(reason) from interrupted


def _error_of_another() -> str | None:
    store = distributed_c10d._get_default_store()
    try:
        return store.get(_ERROR).decode() if store.check([_ERROR]) else None
    except DistError:  # torchrun has the store in a process of its own, other launchers in process 0
        return "Process 0 has ended: see its output for the reason."


def broadcast_from_main(decide: Callable[[], T]) -> T:
    """Call `decide` on the main process and return its result on all ranks. Collective: call it on every rank.

    If it raises UserError, all ranks do.
    """
    state = PartialState()
    if state.num_processes == 1:
        return decide()
    decided = [_result_or_error(decide) if state.is_main_process else None]
    broadcast_object_list(decided)
    if isinstance(decided[0], UserError):
        raise decided[0]
    return decided[0]  # pyright: ignore[reportReturnType]


def _result_or_error(decide: Callable[[], T]) -> T | UserError:
    try:
        return decide()
    except UserError as error:
        return error


def all_gather(value: T) -> list[T]:
    """The values of all ranks, by rank. Collective: call it on every rank."""
    return gather_object([value])


def make_accelerator(device: torch.device, precision: Precision) -> Accelerator:
    """The Accelerator of one training. TrainStep does the autocast; only fp16 needs Accelerate's gradient scaler."""
    init_distributed(device)
    AcceleratorState._reset_state()  # left by an earlier training in this process
    return Accelerator(mixed_precision="fp16" if precision == "fp16" else "no", cpu=device.type == "cpu")


def parallelize(network: nn.Module, accelerator: Accelerator, parallel: Literal["ddp", "fsdp"]) -> nn.Module:
    """The model to call in a training step: its gradients are averaged over the processes.

    "ddp" copies the model to every process; "fsdp" shards every tensor over the processes. For "fsdp" torch's
    `fully_shard` is called directly, because on a CPU Accelerate's FSDP plugin silently falls back to copies. It needs
    contiguous parameters, so that only the images keep the layout of the plan.
    """
    if parallel == "ddp" or accelerator.num_processes == 1:
        return accelerator.prepare(network)
    network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    body = getattr(network, "body", nn.Module())  # timm's models have no body: they are sharded as a whole
    for block in body.children():
        fully_shard(block)
    fully_shard(network)
    assert all(isinstance(parameter, DTensor) for parameter in network.parameters())
    return network


@contextmanager
def no_gradient_sync(model: nn.Module, accelerator: Accelerator) -> Iterator[None]:
    """Within the context, gradients accumulate in this process only. For all chunks of a batch except the last."""
    if not isinstance(model, FSDPModule):
        with accelerator.no_sync(model):
            yield
        return
    model.set_requires_gradient_sync(False)
    yield
    model.set_requires_gradient_sync(True)


def broadcast_buffers(network: nn.Module) -> None:
    """Give all ranks the buffers of the main process, which checkpoints save: statistics of batch normalisation differ.

    Collective: call it on every rank.
    """
    if PartialState().num_processes > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, src=0)


def gather(tensor: Tensor) -> Tensor:
    """A contiguous, unsharded copy of `tensor` on the CPU. Collective: call it on every rank."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def scatter(tensor: Tensor, value: Tensor) -> None:
    """Copy the unsharded `value` into `tensor`, or into this process's shard of it."""
    if isinstance(tensor, DTensor):
        value = distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements)
    with torch.no_grad():
        tensor.copy_(value)


def cpu_group() -> Any:
    """A gloo process group for `all_reduce_any`, or None for a single process. Collective: call it on every rank.

    Flags are reduced on the CPU, so that the reduction does not wait for the device.
    """
    single = PartialState().num_processes == 1
    return None if single else torch.distributed.new_group(backend="gloo")


def all_reduce_any(flags: Sequence[bool], group: Any) -> list[bool]:
    """Whether each flag is set on any rank. Collective: call it on every rank.

    `group` is the result of `cpu_group`.
    """
    if group is None:
        return list(flags)
    reduced = torch.tensor(flags, dtype=torch.uint8)
    torch.distributed.all_reduce(reduced, torch.distributed.ReduceOp.MAX, group=group)
    return [bool(flag) for flag in reduced]
