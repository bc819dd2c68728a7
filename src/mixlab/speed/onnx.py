"""Conversion of a model to ONNX, for other runtimes.

The batch is the only dynamic axis: a Mixer needs images of one size, and runtimes are faster with fixed sizes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

import torch
from torch import nn

from mixlab.data.readers.extras import needs_extra

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram


def onnx_bytes(model: nn.Module, image_shape: Sequence[int], *, outputs: Sequence[str] = ("logits",)) -> bytes:
    """A model as the content of an ONNX file. A model of more than 2 GB needs `write_onnx`.

    model        maps images to one tensor, or to a tuple of them; it is exported in evaluation mode
    image_shape  (channel, row, column)
    outputs      the names of the outputs

    The input is "images", with the axes (batch, channel, row, column) and the model's precision. Raises UserError if
    onnx or onnxscript are not installed.
    """
    return _export(model, image_shape, outputs).model_proto.SerializeToString()


def write_onnx(
    model: nn.Module, image_shape: Sequence[int], file: Path, *, outputs: Sequence[str] = ("logits",)
) -> None:
    """Write a model to an ONNX file. Weights of more than 2 GB go into a second file, with .data after its name.

    The arguments, the input and the errors are those of `onnx_bytes`. The file is not written atomically.
    """
    _export(model, image_shape, outputs).save(file)


def _export(model: nn.Module, image_shape: Sequence[int], outputs: Sequence[str]) -> "ONNXProgram":
    with needs_extra("ONNX", "deploy"):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    parameter = next(model.parameters())
    example = torch.zeros(2, *image_shape, dtype=parameter.dtype, device=parameter.device)
    with catch_warnings():
        simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            model.eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            input_names=["images"],
            output_names=list(outputs),
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces, with the folders of this machine
    return program
