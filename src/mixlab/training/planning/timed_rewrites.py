"""The rewrites that autotuning times: none, and all that can make the training steps of a model faster."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from mixlab.data.batches import Batch
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
from mixlab.zoo.timm_models import TimmModel

_MIN_SECONDS = 30.0
"""Kernels are compiled, which takes about five seconds for the native ones, for trainings of at least this estimated
time."""


def rewrites_to_time(
    job: Job, modes: Sequence[ComputeMode], batch: Batch, micro_batch: int, seconds: float, log: Log
) -> dict[ComputeMode, list[TrainingRewrites]]:
    """The rewrites to time in each mode, the stock model (none) first.

    Kernels that can't be compiled, and modules whose results are not those of the stock ones, are left out, with a
    message to `log`.

    batch        its images are given to the stock modules and to the replaced ones
    micro_batch  images of a forward pass
    seconds      estimated time of the training with the stock model
    """
    to_time = {mode: [TrainingRewrites()] for mode in modes}
    if job.architecture.reads_texts:
        return to_time
    if job.recipe.speed == "auto" and job.device.type == "cpu":
        _add_cpu_rewrites(to_time, job, batch, seconds, log)
    if job.recipe.speed == "auto" and job.device.type == "cuda" and has_time_for_kernels(seconds):
        _add_cuda_rewrites(to_time, job, batch, micro_batch, log)
    return to_time


def has_time_for_kernels(seconds: float) -> bool:
    """Whether a training of so many seconds is long enough for kernels, which are compiled and compared first."""
    return seconds >= _MIN_SECONDS


def _add_cpu_rewrites(
    to_time: Mapping[ComputeMode, list[TrainingRewrites]], job: Job, batch: Batch, seconds: float, log: Log
) -> None:
    network = job.architecture.on_meta()
    build = _kernels_build(log) if has_time_for_kernels(seconds) and uses_native_kernels(network) else None
    image_shape = job.preprocess.input_shape
    possible = {mode: cpu_rewrites(network, image_shape, mode.precision, build) for mode in to_time}
    if job.recipe.activation_checkpointing == "blocks" and isinstance(network, TimmModel):
        possible = {mode: _without_context(rewrites) for mode, rewrites in possible.items()}
    if faster := {mode: rewrites for mode, rewrites in possible.items() if rewrites.names}:
        model, (images, _) = job.build(), batch.on(job.device)
        for mode, rewrites in faster.items():
            if equals_stock(prepare_model(model, job.device, mode), images, rewrites, mode):
                to_time[mode].append(rewrites)
            else:
                log(f"{', '.join(rewrites.names)} in {mode} is not used: its results are not those of PyTorch.")


def _add_cuda_rewrites(
    to_time: Mapping[ComputeMode, list[TrainingRewrites]], job: Job, batch: Batch, micro_batch: int, log: Log
) -> None:
    if not has_depthwise(job.architecture.on_meta()):
        return
    build = _triton_build(torch.cuda.get_device_capability(job.device), log)
    model, (images, _) = job.build(), batch.on(job.device)
    kernels: list[DepthwiseKernel] = [*selectable_kernels(), *(["triton"] if build else [])]
    functions: dict[DepthwiseKernel, Convolve] = {kernel: convolve_with(kernel) for kernel in kernels}
    for mode, of_mode in to_time.items():
        prepared = prepare_model(model, job.device, mode)
        rewrites = cuda_rewrites(prepared, images[:micro_batch], mode, functions, build, log)
        if rewrites.depthwise:
            of_mode.append(rewrites)


def _triton_build(capability: tuple[int, int], log: Log) -> str | None:
    try:
        return triton_build(capability)
    except KernelsUnavailableError as error:
        log(f"The Triton kernels are not used: {error}.")
        return None


def _without_context(rewrites: TrainingRewrites) -> TrainingRewrites:
    """Only the rewrites that need no context: timm computes its blocks again outside of it."""
    return replace(rewrites, names=tuple(name for name in rewrites.names if name != "unfused_attention"))


def _kernels_build(log: Log) -> str | None:
    try:
        return kernels().build
    except KernelsUnavailableError as error:
        log(f"The native kernels are not used: {error}. Install a C++ compiler such as g++ for faster training steps.")
        return None
