"""Forms of execution: which ones a peer has, and what a call of one computes."""

from typing import Any

import pytest
import torch

from mixlab.benchmark import forms
from mixlab.benchmark.forms import Form, prepare, stock_forms
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.zoo.architecture import Architecture, architecture

pytestmark = pytest.mark.usefixtures("bf16_is_tried")

CPU = torch.device("cpu")
STOCK = [(precision, layout) for precision in ("fp32", "bf16") for layout in ("contiguous", "channels_last")]


@pytest.fixture
def tiny() -> Architecture:
    return architecture("mixer_nano", depth=1, channels=8, token_hidden=8, channel_hidden=8, image_size=8, classes=3)


@pytest.mark.parametrize(
    ("peer", "modes"),
    [("eager", STOCK), ("compiled", STOCK), ("timm", STOCK), ("openvino", STOCK[::2]), ("onnxruntime", STOCK[:1])],
)
def test_a_peer_has_every_mode_that_it_can_run(tiny, peer, modes):
    found = stock_forms(peer, tiny, CPU, 4, "inference")
    assert [(form.mode.precision, form.mode.layout) for form in found] == modes
    assert {form.details for form in found} == {""}


def test_modes_whose_steps_write_past_memory_are_not_run():
    narrow = architecture("resnet_nano", channels=(8, 16, 32, 64), classes=3)
    modes = {
        task: [(f.mode.precision, f.mode.layout) for f in stock_forms("eager", narrow, CPU, 4, task)]
        for task in ("inference", "training")
    }
    assert modes["inference"] == STOCK
    assert modes["training"] == [mode for mode in STOCK if mode != ("fp32", "channels_last")]


def observed_calls(form: Form, monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.nn.Module, torch.Tensor, Any]]:
    calls = []
    build = forms._network

    def network(form: Form) -> torch.nn.Module:
        model = build(form)
        model.register_forward_hook(lambda module, inputs, logits: calls.append((module, inputs[0], logits)))
        return model

    monkeypatch.setattr(forms, "_network", network)
    prepare(form)()
    return calls


@pytest.mark.parametrize("peer", ["eager", "timm"])
@pytest.mark.parametrize("mode", [ComputeMode(), ComputeMode("bf16", "channels_last")], ids=str)
def test_a_forward_pass_has_the_batch_precision_and_layout_of_the_form(tiny, peer, mode, monkeypatch):
    form = Form(peer, tiny, "cpu", 5, Plan("cpu", mode, 5), "inference")
    ((module, images, logits),) = observed_calls(form, monkeypatch)
    assert images.shape == (5, 3, 8, 8) and images.is_contiguous(memory_format=mode.memory_format)
    assert {images.dtype, logits.dtype, next(module.parameters()).dtype} == {mode.dtype}
    assert logits.shape == (5, 3) and logits.is_inference() and not module.training


def test_a_training_step_changes_the_weights_and_leaves_no_gradients(tiny, monkeypatch):
    form = Form("eager", tiny, "cpu", 4, Plan("cpu", ComputeMode("bf16"), 4), "training")
    before = {name: tensor.clone() for name, tensor in _seeded(form).state_dict().items()}
    ((module, images, logits),) = observed_calls(form, monkeypatch)
    changed = [name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])]
    assert "head.weight" in changed and module.training
    assert all(parameter.grad is None for parameter in module.parameters())
    assert images.dtype == torch.float32 and logits.dtype == torch.bfloat16  # autocast


def _seeded(form: Form) -> torch.nn.Module:
    """The model that `prepare` builds: images are drawn first."""
    torch.manual_seed(0)
    torch.randn(form.batch, 3, 8, 8)
    torch.randint(3, (form.batch,))
    return form.architecture.build()


@pytest.mark.parametrize(("peer", "package"), [("openvino", "openvino"), ("onnxruntime", "onnxruntime")])
@pytest.mark.long
def test_a_runtime_computes_the_logits_of_the_model(tiny, peer, package):
    pytest.importorskip(package, reason='needs pip install "mixlab[deploy]"')
    from mixlab.benchmark.runtimes import onnxruntime_pass, openvino_pass

    torch.manual_seed(0)
    model = tiny.build().eval()
    torch.nn.init.normal_(model.head.weight)
    images = torch.randn(4, 3, 8, 8)
    call = openvino_pass(model, images, "fp32") if peer == "openvino" else onnxruntime_pass(model, images)
    (logits,) = call()  # pyright: ignore[reportGeneralTypeIssues]
    with torch.inference_mode():
        torch.testing.assert_close(torch.as_tensor(logits), model(images), rtol=1e-4, atol=1e-5)
