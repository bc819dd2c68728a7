"""The rewrites that autotuning times: none, and all that can make the training steps of a model faster."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mixlab.data.batches import Batch
from mixlab.errors import in_one_line
from mixlab.report.progress import Log
from mixlab.speed.depthwise_choice import cuda_rewrites
from mixlab.speed.equivalence import equals_stock
from mixlab.speed.kernels.library import KernelsUnavailableError, kernels
from mixlab.speed.plan import ComputeMode, prepare_model
from mixlab.speed.rewrites.cuda_depthwise import (
    DepthwiseKernel,
    convolve_with,
    has_depthwise,
    selectable_kernels,
    triton_build,
)
from mixlab.speed.rewrites.depthwise import Convolve
from mixlab.speed.training_rewrites import TrainingRewrites, cpu_rewrites, uses_native_kernels
from mixlab.training.job import Job
from mixlab.training.planning.memory import is_out_of_memory
from mixlab.zoo.timm_models import TimmModel

_MIN_SECONDS = 30.0
"""Kernels are compiled, which takes about five seconds for the native ones, for trainings of at least this estimated
time."""

_UNAVAILABLE = {
    "cpu": "The native kernels are not used: {}. Install a C++ compiler such as g++ for faster training steps.",
    "cuda": "The Triton kernels are not used: {}.",
}


def rewrites_to_time(
    job: Job, modes: Sequence[ComputeMode], batch: Batch, images: int, seconds: float, log: Log
) -> tuple[dict[ComputeMode, list[TrainingRewrites]], str | None]:
    """The rewrites to time in each mode, the stock model (none) first, and the `kernels` of `Timings`.

    Kernels that can't be compiled, and modules whose results are not those of the stock ones, are left out, with a
    message to `log`.

    batch    its images are given to the stock modules and to the replaced ones
    images   images of a forward pass
    seconds  estimated time of the training with the stock model
    """
    to_time = {mode: [TrainingRewrites()] for mode in modes}
    if job.recipe.speed == "off" or job.architecture.reads_texts:
        return to_time, None
    build = reason = None
    if has_time_for_kernels(seconds):
        try:
            build = kernel_build(job)
        except KernelsUnavailableError as error:
            reason = str(error)
            log(_UNAVAILABLE[job.device.type].format(reason))
    if job.device.type == "cpu":
        _add_cpu_rewrites(to_time, job, batch, build, log)
    if job.device.type == "cuda" and has_time_for_kernels(seconds):
        _add_cuda_rewrites(to_time, job, batch, images, build, log)
    return to_time, build or reason


def kernel_build(job: Job) -> str | None:
    """The build of the kernels that can make training steps of `job` faster; None if there are none for its model.

    Raises KernelsUnavailableError if they are not available on this machine.
    """
    if job.architecture.reads_texts:
        return None
    network = job.architecture.on_meta()
    if job.device.type == "cpu" and uses_native_kernels(network):
        return kernels().build
    if job.device.type == "cuda" and has_depthwise(network):
        return triton_build(torch.cuda.get_device_capability(job.device))
    return None


def has_time_for_kernels(seconds: float) -> bool:
    """Whether a training of that many seconds is long enough for kernels, which are compiled and compared first."""
    return seconds >= _MIN_SECONDS


def _add_cpu_rewrites(
    to_time: Mapping[ComputeMode, list[TrainingRewrites]], job: Job, batch: Batch, build: str | None, log: Log
) -> None:
    network = job.architecture.on_meta()
    image_shape = job.preprocess.input_shape
    possible = {mode: cpu_rewrites(network, image_shape, mode.precision, build) for mode in to_time}
    if job.recipe.activation_checkpointing == "blocks" and isinstance(network, TimmModel):
        possible = {mode: _without_context(rewrites) for mode, rewrites in possible.items()}
    if faster := {mode: rewrites for mode, rewrites in possible.items() if rewrites.names}:
        model, (images, _) = job.build(), batch.on(job.device)
        for mode, rewrites in faster.items():
            if reason := _reason_against(rewrites, prepare_model(model, job.device, mode), images, mode):
                log(f"{', '.join(rewrites.names)} in {mode} is not used: {reason}.")
            else:
                to_time[mode].append(rewrites)


def _reason_against(rewrites: TrainingRewrites, model: nn.Module, images: Tensor, mode: ComputeMode) -> str | None:
    try:
        return None if equals_stock(model, images, rewrites, mode) else "its results are not those of PyTorch"
    except Exception as error:  # modules of a user can differ in many ways from those that rewrites expect
        if is_out_of_memory(error):
            raise
        return in_one_line(error)


def _add_cuda_rewrites(
    to_time: Mapping[ComputeMode, list[TrainingRewrites]],
    job: Job,
    batch: Batch,
    count: int,
    build: str | None,
    log: Log,
) -> None:
    if not has_depthwise(job.architecture.on_meta()):
        return
    model, (images, _) = job.build(), batch.on(job.device)
    kernels: list[DepthwiseKernel] = [*selectable_kernels(), *(["triton"] if build else [])]
    functions: dict[DepthwiseKernel, Convolve] = {kernel: convolve_with(kernel) for kernel in kernels}
    for mode, of_mode in to_time.items():
        prepared = prepare_model(model, job.device, mode)
        rewrites = cuda_rewrites(prepared, images[:count], mode, functions, build, log)
        if rewrites.depthwise:
            of_mode.append(rewrites)


def _without_context(rewrites: TrainingRewrites) -> TrainingRewrites:
    """Only the rewrites that need no context: timm computes its blocks again outside of it."""
    return replace(rewrites, names=tuple(name for name in rewrites.names if name != "unfused_attention"))
