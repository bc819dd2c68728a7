"""int8 in ONNX Runtime."""

import pytest
import torch

from mixlab.data.preprocess import Preprocess
from mixlab.export.onnx_int8 import OnnxInt8
from mixlab.weights.adapt import Weights
from mixlab.weights.load import Pretrained, build_with_weights
from mixlab.zoo.architecture import architecture

pytest.importorskip("onnxscript", reason='needs onnx and onnxscript: pip install "mixlab[deploy]"')
pytest.importorskip("nncf", reason='needs nncf: pip install "mixlab[deploy]"')
pytest.importorskip("onnxruntime", reason='needs onnxruntime: pip install "mixlab[deploy]"')


@pytest.mark.parametrize("method", OnnxInt8.methods)
def test_a_quantised_network_has_nearly_the_same_logits_for_batches_of_any_size(method, no_shape_checks):
    torch.manual_seed(0)
    found = architecture("convmixer_nano", image_size=16, classes=3, depth=1, channels=16)
    model = found.build()
    torch.nn.init.normal_(model.get_parameter("head.weight"))
    preprocess = Preprocess((16, 16))
    pretrained = Pretrained(Weights(found.family, found.config, model.state_dict()), ("a", "b", "c"), preprocess)
    runtime = OnnxInt8()
    network = runtime.convert(pretrained, {})
    images = torch.randn(8, 3, 16, 16)
    quantised = runtime.quantize(network, [image[None] for image in images], method)
    assert b"QuantizeLinear" in quantised and b"QuantizeLinear" not in network
    for batch in (images, images[:1]):
        with torch.inference_mode():
            expected = build_with_weights(pretrained.weights)(batch)
        (fp32,), (int8,) = runtime.compile(network, "fp32")(batch), runtime.compile(quantised, "int8")(batch)
        torch.testing.assert_close(fp32, expected, rtol=1e-4, atol=1e-4)
        assert (int8 - expected).abs().max() < 0.1 * expected.std(unbiased=False) + 0.1
        assert (int8 - expected).abs().max() > 1e-4
