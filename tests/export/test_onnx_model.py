"""The preprocessing and a network in one ONNX graph."""

import numpy as np
import pytest

from exported_folder import NETWORK, PREPROCESS
from mixlab.export.onnx_model import with_preprocessing

onnxruntime = pytest.importorskip("onnxruntime", reason='needs onnx and onnxruntime: pip install "mixlab[deploy]"')


@pytest.mark.parametrize(("element", "tolerance"), [("float", 1e-6), ("float16", 2e-3)])
def test_the_outputs_are_in_fp32_for_a_network_of_any_precision(element: str, tolerance: float):
    from onnx import parser

    network = parser.parse_model(NETWORK.replace("float[", f"{element}["))
    whole = with_preprocessing(network, PREPROCESS, {"classes": "[]"})
    session = onnxruntime.InferenceSession(whole.SerializeToString())
    assert [value.name for value in session.get_inputs()] == ["images"]
    assert session.get_modelmeta().custom_metadata_map == {"classes": "[]"}
    image = np.random.default_rng(0).integers(0, 256, (30, 17, 3), dtype=np.uint8)
    probabilities, logits = session.run(["probabilities", "logits"], {"images": image[None]})
    expected = PREPROCESS(image).mean(dim=(1, 2))
    assert probabilities.dtype == logits.dtype == np.float32
    assert logits[0] == pytest.approx(expected.numpy(), abs=tolerance)
    assert probabilities[0] == pytest.approx(expected.softmax(dim=0).numpy(), abs=tolerance)
