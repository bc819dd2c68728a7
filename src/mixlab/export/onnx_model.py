"""A model as one ONNX graph: from decoded images of any size to logits and probabilities."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from mixlab.data.preprocess import Preprocess
from mixlab.data.readers.extras import needs_extra
from mixlab.export.preprocess_graph import OUTPUT, preprocess_graph
from mixlab.speed.onnx import onnx_bytes

if TYPE_CHECKING:
    from onnx import ModelProto

OnnxPrecision = Literal["fp32", "fp16"]

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


def onnx_network(model: nn.Module, preprocess: Preprocess, precision: OnnxPrecision) -> "ModelProto":
    """A network that maps preprocessed images to logits, which are both in `precision`.

    model  is converted to `precision` in place

    Raises UserError if onnx or onnxscript are not installed.
    """
    content = onnx_bytes(model.to(_DTYPES[precision]), (3, *preprocess.image_size))
    import onnx

    return onnx.load_from_string(content)


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
