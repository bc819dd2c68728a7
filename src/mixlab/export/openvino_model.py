"""A model in OpenVINO's representation: from resized images to logits and probabilities.

Resizing is not part of the graph: OpenVINO's plugin for CPUs computes in float32 where the graph says float64, so that
the resized pixels differ from those of Pillow (docs/decisions/0026-file-formats-of-exported-models.md).
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mixlab.data.preprocess import Preprocess
from mixlab.data.readers.extras import needs_extra
from mixlab.export.preprocess_graph import pixel_order
from mixlab.export.writer import Request, Written, first_output
from mixlab.prediction.int8 import OpenVinoInt8, int8_network
from mixlab.speed.openvino import PRECISION_HINTS, to_openvino
from mixlab.weights.exported_sessions import INFERENCE_PRECISION

if TYPE_CHECKING:
    import openvino


def write_openvino_model(folder: Path, request: Request) -> Written:
    """Write model.xml and model.bin, whose weights are in fp32 or int8.

    Raises UserError if the packages are not installed, or int8 is refused.
    """
    with needs_extra("OpenVINO", "deploy"):
        import openvino
    precision = PRECISION_HINTS[INFERENCE_PRECISION[request.precision]]
    details, reference = {"inference_precision": precision}, request.model
    if request.precision == "int8":
        runtime = OpenVinoInt8()
        network, check = int8_network(runtime, request.pretrained, request.source, request.data)
        details, reference = details | {"int8": asdict(check)}, first_output(runtime.compile(network, "int8"))
    else:
        network = to_openvino(request.model, (3, *request.preprocess.image_size))
    whole = with_normalisation(network, request.preprocess)
    for key, value in (request.metadata_as_text() | {"inference_precision": precision}).items():
        whole.set_rt_info(value, ["mixlab", key])
    openvino.save_model(whole, folder / "model.xml", compress_to_fp16=False)
    return Written(reference, {"openvino": openvino.__version__}, details)


def with_normalisation(network: "openvino.Model", preprocess: Preprocess) -> "openvino.Model":
    """The normalisation, a network and the softmax in one graph.

    network  maps normalised images to logits; it becomes a part of the result

    The input "images" is uint8 (batch, row, column, 3) at the size of the model. The outputs are "probabilities" and
    "logits", both float32 (batch, class).
    """
    from openvino import Model, Type, opset13

    height, width = preprocess.image_size
    images = opset13.parameter([-1, height, width, 3], Type.u8, name="images")
    images.output(0).get_tensor().set_names({"images"})
    pixels = opset13.convert(opset13.transpose(images, np.array([0, 3, 1, 2])), "f32")
    mean, std = (
        (255 * torch.tensor(values, dtype=torch.float32)).reshape(1, 3, 1, 1).numpy()
        for values in (preprocess.mean, preprocess.std)
    )
    normalised = opset13.divide(opset13.subtract(pixels, mean), std)
    if preprocess.transform is not None:
        flat = opset13.reshape(normalised, np.array([0, 3, height * width]), special_zero=True)
        permuted = opset13.gather(flat, np.array(pixel_order(preprocess)), np.array(2))
        normalised = opset13.reshape(permuted, np.array([0, 3, height, width]), special_zero=True)
    for target in network.inputs[0].get_target_inputs():
        target.replace_source_output(normalised.output(0))
    logits = network.outputs[0].get_node().input_value(0)
    results = [opset13.result(opset13.softmax(logits, 1)), opset13.result(logits)]
    for result, name in zip(results, ("probabilities", "logits"), strict=True):
        result.output(0).get_tensor().set_names({name})
    return Model(results, [images], "mixlab")  # pyright: ignore[reportGeneralTypeIssues]
