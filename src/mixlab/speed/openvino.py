"""Models in OpenVINO, Intel's runtime for CPUs.

The conversion goes through ONNX: OpenVINO's own conversion from PyTorch does not know the operator aten::mT.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.data.readers.extras import needs_extra
from mixlab.speed.onnx import write_onnx

if TYPE_CHECKING:
    import openvino

OPENVINO_PACKAGES = ("openvino", "onnx", "onnxscript")
"""What converts and runs a model."""

OpenVinoPrecision = Literal["fp32", "bf16"]

PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16"}

Forward = Callable[[Tensor], tuple[Tensor, ...]]
"""Maps images (batch, channel, row, column) in fp32 on the CPU to the outputs of a model."""


def core() -> "openvino.Core":
    """The only `Core` of this process, which is never released.

    OpenVINO's plugin for CPUs replaces the alternate signal stack of the thread, and restores the previous one when it
    is released. After two plugins were released in the order in which they were loaded, the stack is one that no longer
    exists, and the next signal with a handler in Python, such as Ctrl-C, ends the process with a segmentation fault.

    Raises UserError if openvino is not installed.
    """
    with needs_extra("OpenVINO", "deploy"):
        from openvino import Core
    return _only(Core)


@cache
def _only(kind: "type[openvino.Core]") -> "openvino.Core":
    return kind()


def to_openvino(
    model: nn.Module, image_shape: Sequence[int], *, outputs: Sequence[str] = ("logits",)
) -> "openvino.Model":
    """Convert a model to OpenVINO's representation. The arguments are those of `onnx_bytes`.

    Raises UserError if openvino, onnx or onnxscript are not installed.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        reader = core()
        write_onnx(model, image_shape, file, outputs=outputs)
        return reader.read_model(file)


def compile_openvino(
    network: "openvino.Model", precision: OpenVinoPrecision = "fp32", *, threads: int | None = None
) -> Forward:
    """A function that runs `network` on the CPU, for batches of any size.

    precision  of the layers that are not quantised; on a CPU without bf16 instructions, OpenVINO uses fp32
    threads    None: PyTorch's number of threads
    """
    settings = {
        "INFERENCE_PRECISION_HINT": PRECISION_HINTS[precision],
        "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core().compile_model(network, "CPU", settings).create_infer_request()
    lock = Lock()  # a request can't be used by several threads at the same time

    def forward(images: Float[Tensor, "batch channel row column"]) -> tuple[Tensor, ...]:
        with lock:
            results = request.infer(images.contiguous().numpy(), share_inputs=True)
        return tuple(torch.from_numpy(results[output]) for output in results)

    return forward
