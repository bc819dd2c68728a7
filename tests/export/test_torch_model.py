"""A model as a program of `torch.export`."""

import io
from warnings import catch_warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from mixlab.data.preprocess import Preprocess
from mixlab.data.transforms import Transform
from mixlab.export.torch_model import torch_program
from mixlab.export.writer import Precision

PREPROCESS = Preprocess((8, 6), "shorter_side", 0.9, transform=Transform("permute_all_pixels", seed=3))
WHOLE, RESIZED = torch.zeros((), dtype=torch.bool), torch.ones((), dtype=torch.bool)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 6, 4)).eval()


@pytest.fixture(scope="module")
def program() -> ExportedProgram:
    return torch_program(network(), PREPROCESS)


def compare(program: ExportedProgram, tolerance: float) -> None:
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    with catch_warnings(action="ignore"):  # PyTorch 2.11 warns about buffers of its own
        loaded = torch.export.load(file).module()
    for shape in ((1, 1, 1, 3), (1, 30, 17, 3), (3, 90, 7, 3), (2, 7, 90, 3)):
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        with torch.inference_mode():
            probabilities, logits = loaded(torch.from_numpy(images), WHOLE)
            expected = network()(torch.stack([PREPROCESS(image) for image in images]))
        assert probabilities.dtype == logits.dtype == torch.float32
        torch.testing.assert_close(logits, expected, atol=tolerance, rtol=tolerance)
        torch.testing.assert_close(probabilities, logits.softmax(dim=1))


def test_a_loaded_program_takes_batches_of_images_of_any_size(program):
    compare(program, 1e-6)


@pytest.mark.long
def test_a_network_in_bf16_answers_in_fp32(program):
    precision: Precision = "bf16"
    compare(torch_program(network().to(torch.bfloat16), PREPROCESS, precision), 0.05)


def test_resized_images_are_only_normalised_and_transformed(program):
    images = torch.randint(0, 256, (5, 8, 6, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network()(PREPROCESS.finished(images.permute(0, 3, 1, 2)))
        torch.testing.assert_close(program.module()(images, RESIZED)[1], expected)


def test_the_program_has_operators_of_pytorch_only_and_stores_no_images(program):
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert all(name.startswith(("aten.", "cond", "<built-in function getitem")) for name in called), called
    assert program.example_inputs is None
