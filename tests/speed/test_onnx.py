"""Conversion to ONNX: the same logits in another runtime, for batches of any size, and a sentence without onnx."""

import sys
from pathlib import Path

import pytest
import torch

from mixlab.errors import UserError
from mixlab.speed.onnx import onnx_bytes, write_onnx
from mixlab.zoo.architecture import Model, create_model

NEEDS_DEPLOY = 'needs onnx and onnxscript: pip install "mixlab[deploy]"'


def small_mixer() -> Model:
    model = create_model("mixer_nano", depth=1, channels=16, token_hidden=8, channel_hidden=32).eval()
    torch.nn.init.normal_(model.get_parameter("head.weight"))
    return model


def test_an_onnx_file_has_the_models_logits_for_a_batch_of_any_size(tmp_path: Path):
    pytest.importorskip("onnxscript", reason=NEEDS_DEPLOY)
    from onnx import load
    from onnx.reference import ReferenceEvaluator

    model = small_mixer()
    write_onnx(model, (3, 32, 32), tmp_path / "model.onnx")
    evaluator = ReferenceEvaluator(load(tmp_path / "model.onnx"))
    for batch in (1, 5):
        images = torch.randn(batch, 3, 32, 32)
        (logits,) = evaluator.run(None, {"images": images.numpy()})  # pyright: ignore[reportGeneralTypeIssues]
        torch.testing.assert_close(torch.from_numpy(logits), model(images).detach(), rtol=1e-4, atol=1e-4)


def test_the_bytes_are_those_of_an_onnx_file_with_the_given_outputs():
    pytest.importorskip("onnxscript", reason=NEEDS_DEPLOY)
    import onnx

    graph = onnx.load_from_string(onnx_bytes(small_mixer(), (3, 32, 32), outputs=["scores"])).graph
    assert [value.name for value in graph.input] == ["images"]
    assert [value.name for value in graph.output] == ["scores"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param, "the batch is dynamic"


def test_without_onnx_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r'ONNX needs the optional dependency .*: pip install "mixlab\[deploy\]"'):
        onnx_bytes(small_mixer(), (3, 32, 32))
