"""A model as a program of `torch.export`: from decoded images of any size to logits and probabilities."""

import json
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from mixlab.data.preprocess import Preprocess
from mixlab.export.preprocess_module import PreprocessModule
from mixlab.export.writer import Precision, Request, Written
from mixlab.speed.plan import DTYPES
from mixlab.weights.exported_sessions import METADATA_FILE

_EXAMPLE = (2, 301, 403, 3)
"""The shape of the images with which the program is traced; the first three numbers can be any."""


def write_torch_model(folder: Path, request: Request) -> Written:
    """Write model.pt2, with the metadata as an extra file."""
    program = torch_program(request.converted_model(), request.preprocess, request.precision)
    metadata = json.dumps(request.metadata_as_text(), ensure_ascii=False)
    torch.export.save(program, folder / "model.pt2", extra_files={METADATA_FILE: metadata})
    return Written(request.model, {}, {})


def torch_program(network: nn.Module, preprocess: Preprocess, precision: Precision = "fp32") -> ExportedProgram:
    """The preprocessing, a network and the softmax in one program.

    network  is in `precision`, in evaluation mode and on the CPU

    The inputs are uint8 (batch, row, column, 3) and a bool: if it is true, the images have the size of the model
    already. The outputs are probabilities and logits, both float32 (batch, class).
    """
    whole = _Whole(PreprocessModule(preprocess), network, DTYPES[precision]).eval()
    example = torch.zeros(_EXAMPLE, dtype=torch.uint8), torch.zeros((), dtype=torch.bool)
    any_size = dict.fromkeys(range(3), Dim.DYNAMIC)
    with torch.no_grad():
        program = torch.export.export(whole, example, dynamic_shapes=(any_size, None))
    program.example_inputs = None  # they would be stored
    for graph in program.graph_module.modules():
        for node in graph.graph.nodes if isinstance(graph, GraphModule) else ():
            node.meta.pop("stack_trace", None)  # with the folders of this machine
    return program


class _Whole(nn.Module):
    def __init__(self, preprocess: PreprocessModule, network: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.preprocess = preprocess
        self.network = network
        self.dtype = dtype

    def forward(
        self, images: UInt8[Tensor, "batch row column 3"], is_resized: Bool[Tensor, ""]
    ) -> tuple[Float[Tensor, "batch class"], Float[Tensor, "batch class"]]:
        logits = self.network(self.preprocess(images, is_resized).to(self.dtype)).to(torch.float32)
        return logits.softmax(dim=1), logits
