"""A model as one ONNX graph: from decoded images of any size to logits and probabilities."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mixlab.data.preprocess import Preprocess
from mixlab.data.readers.extras import needs_extra
from mixlab.errors import UserError
from mixlab.export.onnx_int8 import OnnxInt8
from mixlab.export.preprocess_graph import OUTPUT, preprocess_graph
from mixlab.export.writer import Request, Written, first_output
from mixlab.prediction.int8 import int8_network
from mixlab.speed.onnx import onnx_bytes
from mixlab.weights.exported import MODEL

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_BYTES = 2**31 - 1
"""The size of an ONNX file in one piece."""


def write_onnx_model(folder: Path, request: Request) -> Written:
    """Write model.onnx. Raises UserError as `onnx_model`."""
    whole, written = onnx_model(request)
    (folder / MODEL).write_bytes(whole.SerializeToString())
    return written


def onnx_model(request: Request) -> tuple["ModelProto", Written]:
    """The graph of a model.

    Raises UserError if the model is too large, the packages are not installed, or int8 is refused.
    """
    if sum(tensor.nbytes for tensor in request.pretrained.weights.tensors.values()) > MAX_BYTES:
        raise UserError(
            f"{request.source} has more than 2 GB of weights, too many for an ONNX file: give --to openvino or --to "
            "torch."
        )
    with needs_extra("ONNX", "deploy"):
        import onnx
        import onnxruntime
    details, reference = {}, request.model
    if request.precision == "int8":
        runtime = OnnxInt8()
        content, check = int8_network(runtime, request.pretrained, request.source, request.data)
        details, reference = {"int8": asdict(check)}, first_output(runtime.compile(content, "int8"))
    else:
        content = onnx_bytes(request.converted_model(), (3, *request.preprocess.image_size))
    network = onnx.load_from_string(content)
    whole = with_preprocessing(network, request.preprocess, request.metadata_as_text())
    versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    return whole, Written(reference, versions, {"opset": whole.opset_import[0].version, **details})


def with_preprocessing(network: "ModelProto", preprocess: Preprocess, metadata: Mapping[str, str]) -> "ModelProto":
    """The preprocessing, a network and the softmax in one graph, whose inputs are those of `preprocess_graph`.

    network   maps "images" to "logits", in fp32 or fp16; the preprocessing and the softmax are computed in fp32
    metadata  is stored in the file

    The outputs are "probabilities" and "logits", both float32 (batch, class).

    Raises UserError if onnx is not installed.
    """
    with needs_extra("ONNX", "deploy"):
        from onnx import TensorProto, compose, helper
    element = network.graph.input[0].type.tensor_type.elem_type
    classes = network.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    front = preprocess_graph(preprocess, network.opset_import[0].version)
    front.ir_version = network.ir_version
    front.graph.node.append(helper.make_node("Cast", [OUTPUT], ["network/images"], to=element))
    front.graph.output[0].name = "network/images"
    front.graph.output[0].type.tensor_type.elem_type = element
    network = compose.add_prefix(network, "network/")
    whole = compose.merge_models(front, network, io_map=[("network/images", "network/images")])
    whole.graph.name = "mixlab"
    logits = helper.make_node("Cast", ["network/logits"], ["logits"], to=TensorProto.FLOAT)
    whole.graph.node.extend([logits, helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)])
    del whole.graph.output[:]
    whole.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", classes])
        for name in ("probabilities", "logits")
    )
    helper.set_model_props(whole, dict(metadata))
    return whole
