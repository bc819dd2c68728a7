"""OpenVINO: the same logits as PyTorch for every family, and a sentence without it."""

import subprocess
import sys
import textwrap

import pytest
import torch

from mixlab.errors import UserError
from mixlab.speed.openvino import compile_openvino, to_openvino
from mixlab.zoo.architecture import create_model, embed_and_classify


@pytest.fixture
def _openvino() -> None:
    pytest.importorskip("openvino", reason='needs openvino: pip install "mixlab[deploy]"')
    pytest.importorskip("onnxscript", reason='needs onnxscript: pip install "mixlab[deploy]"')


@pytest.mark.usefixtures("_openvino")
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("mixer_nano", {"depth": 1}),
        ("convmixer_nano", {"depth": 1}),
        ("davit_nano", {"channels": (32, 64), "heads": (1, 2), "depths": (1, 1)}),
    ],
)
def test_openvino_in_fp32_has_the_models_logits_for_batches_of_any_size(
    name: str, fields: dict[str, object], no_shape_checks: None
):
    model = create_model(name, **fields).eval()
    torch.nn.init.normal_(model.get_parameter("head.weight"), std=0.1)
    forward = compile_openvino(to_openvino(model, (3, 32, 32)))
    for batch in (4, 1):
        images = torch.randn(batch, 3, 32, 32)
        (logits,) = forward(images)
        torch.testing.assert_close(logits, model(images).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("_openvino")
def test_several_outputs_are_returned_in_their_order(no_shape_checks: None):
    model = create_model("mixer_nano", depth=1).eval()

    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return embed_and_classify(model, images)

    images = torch.randn(2, 3, 32, 32)
    network = to_openvino(Both(), (3, 32, 32), outputs=["embeddings", "logits"])
    expected = Both()(images)
    torch.testing.assert_close(compile_openvino(network)(images), expected, rtol=1e-4, atol=1e-4)


def test_without_openvino_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r'OpenVINO needs the optional dependency .*: pip install "mixlab\[deploy\]"'):
        to_openvino(create_model("mixer_nano"), (3, 32, 32))


RELEASED = """
    import faulthandler, gc, os, signal
    import openvino
    from openvino import opset13
    from mixlab.speed.openvino import compile_openvino

    faulthandler.enable()  # sets an alternate signal stack
    signal.signal(signal.SIGUSR1, lambda *_: print("received"))
    number = opset13.parameter([1, 1, 1, 1], openvino.Type.f32)
    network = openvino.Model([opset13.relu(number)], [number])
    first, second = compile_openvino(network), compile_openvino(network)
    del first
    gc.collect()
    del second
    gc.collect()
    os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR1")
@pytest.mark.usefixtures("_openvino")
def test_signals_are_handled_after_two_models_were_released():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RELEASED)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "received\n"), done.stderr
