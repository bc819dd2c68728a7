"""The rewrites that autotuning times: none, and all that can make the training steps of a model faster."""

from collections.abc import Callable, Sequence

from mixlab.data.batches import Batch
from mixlab.speed.equivalence import equals_stock
from mixlab.speed.kernels.library import KernelsUnavailableError, kernels
from mixlab.speed.plan import ComputeMode, prepare_model
from mixlab.speed.training_rewrites import TrainingRewrites, cpu_rewrites, uses_native_kernels
from mixlab.training.job import Job

Log = Callable[[str], None]

_MIN_SECONDS = 30.0
"""The native kernels are compiled, which takes about five seconds, for trainings of at least this estimated time."""


def rewrites_to_time(
    job: Job, modes: Sequence[ComputeMode], batch: Batch, seconds: float, log: Log
) -> dict[ComputeMode, list[TrainingRewrites]]:
    """The rewrites to time in each mode, the stock model (none) first.

    Native kernels that can't be compiled, and modules whose results are not those of the stock ones, are left out, with
    a message to `log`.

    batch    its images are given to the stock modules and to the replaced ones
    seconds  estimated time of the training with the stock model
    """
    to_time = {mode: [TrainingRewrites()] for mode in modes}
    if job.recipe.speed == "off" or job.device.type != "cpu":
        return to_time
    network = job.architecture.on_meta()
    build = _kernels_build(log) if seconds >= _MIN_SECONDS and uses_native_kernels(network) else None
    image_shape = (3, *job.preprocess.image_size)
    possible = {mode: cpu_rewrites(network, image_shape, mode.precision, build) for mode in modes}
    if faster := {mode: rewrites for mode, rewrites in possible.items() if rewrites.names}:
        model, (images, _) = job.build(), batch.on(job.device)
        for mode, rewrites in faster.items():
            if equals_stock(prepare_model(model, job.device, mode), images, rewrites, mode):
                to_time[mode].append(rewrites)
            else:
                log(f"{', '.join(rewrites.names)} in {mode} is not used: its results are not those of PyTorch.")
    return to_time


def _kernels_build(log: Log) -> str | None:
    try:
        return kernels().build
    except KernelsUnavailableError as error:
        log(f"The native kernels are not used: {error}. Install a C++ compiler such as g++ for faster training steps.")
        return None
