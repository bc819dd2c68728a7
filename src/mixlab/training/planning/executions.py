"""The executions of a training's steps that autotuning times: the stock one, and a faster one if there is any."""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from mixlab.speed.equivalence import equals_stock
from mixlab.speed.execution import Execution, cpu_execution, uses_native_kernels
from mixlab.speed.kernels.library import KernelsUnavailableError, kernels
from mixlab.speed.plan import ComputeMode, prepare_model
from mixlab.training.job import Job

Log = Callable[[str], None]

_MIN_SECONDS = 30.0
"""The native kernels are compiled, which takes about five seconds, for trainings of at least this estimated time."""


def executions_to_time(
    job: Job, modes: Sequence[ComputeMode], images: Float[Tensor, "image 3 row column"], seconds: float, log: Log
) -> dict[ComputeMode, list[Execution]]:
    """The executions to time in each mode, the stock one first.

    Native kernels that can't be compiled, and modules whose results are not those of the stock ones, are left out, with
    a message to `log`.

    images   of one batch
    seconds  estimated time of the training with the stock execution
    """
    to_time = {mode: [Execution()] for mode in modes}
    if job.recipe.speed == "off" or job.device.type != "cpu":
        return to_time
    network = job.architecture.on_meta()
    build = _kernels_build(log) if seconds >= _MIN_SECONDS and uses_native_kernels(network) else None
    image_shape = (3, *job.preprocess.image_size)
    faster = {mode: cpu_execution(network, image_shape, mode.precision, build) for mode in modes}
    if any(execution != Execution() for execution in faster.values()):
        model = job.build()
        for mode, execution in faster.items():
            if execution == Execution():
                continue
            if equals_stock(prepare_model(model, job.device, mode), images, execution, mode):
                to_time[mode].append(execution)
            else:
                log(f"{', '.join(execution.rewrites)} in {mode} is not used: its results are not those of PyTorch.")
    return to_time


def _kernels_build(log: Log) -> str | None:
    try:
        return kernels().build
    except KernelsUnavailableError as error:
        log(f"The native kernels are not used: {error}. Install a C++ compiler such as g++ for faster training steps.")
        return None
