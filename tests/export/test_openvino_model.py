"""A model in OpenVINO's representation, from resized images to probabilities."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from exported_folder import NETWORK
from mixlab.data.preprocess import Preprocess
from mixlab.data.transforms import Transform
from mixlab.export.openvino_model import with_normalisation
from mixlab.speed.openvino import compile_openvino, core

pytest.importorskip("openvino", reason='needs openvino: pip install "mixlab[deploy]"')
pytest.importorskip("onnx", reason='needs onnx: pip install "mixlab[deploy]"')

PREPROCESS = Preprocess((8, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def network():
    """The mean of the upper half of each channel, so that the order of the pixels matters."""
    from onnx import parser

    text = NETWORK.replace(
        "logits = ReduceMean <keepdims = 0> (images, axes)",
        """starts = Constant <value_ints = [0]> ()
        ends = Constant <value_ints = [4]> ()
        rows = Constant <value_ints = [2]> ()
        half = Slice (images, starts, ends, rows)
        logits = ReduceMean <keepdims = 0> (half, axes)""",
    )
    return core().read_model(parser.parse_model(text).SerializeToString())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("transform", [None, Transform("permute_all_pixels", seed=3)])
def test_resized_images_are_normalised_and_transformed_in_the_graph(precision, transform):
    preprocess = replace(PREPROCESS, transform=transform)
    forward = compile_openvino(with_normalisation(network(), preprocess), precision)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8))
    probabilities, logits = forward(images)
    expected = preprocess.finished(images.permute(0, 3, 1, 2))[:, :, :4].mean(dim=(2, 3))
    tolerance = 1e-5 if precision == "fp32" else 0.02
    torch.testing.assert_close(logits, expected, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(probabilities, expected.softmax(dim=1), atol=tolerance, rtol=tolerance)
