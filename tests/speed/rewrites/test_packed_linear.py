"""Layers that oneDNN has packed: the outputs of PyTorch's, for any number of inputs, in fp32 and bf16."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mixlab.measure.machine import has_bf16_kernels
from mixlab.models.mlp import Mlp
from mixlab.speed.rewrites.packed_linear import pack_linear_layers
from mixlab.zoo.architecture import create_model

NEEDS_BFLOAT16 = pytest.mark.skipif(not has_bf16_kernels(), reason="this processor has no bf16 kernels")
pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of the inputs of PyTorch's linear layers."""
    calls: list[torch.Size] = []
    linear = F.linear
    monkeypatch.setattr(F, "linear", lambda x, *rest: (calls.append(x.shape), linear(x, *rest))[1])
    return calls


def packed(model: nn.Module) -> nn.Module:
    copy = nn.Sequential(deepcopy(model)).eval()
    pack_linear_layers(copy, (3, 32, 32))
    return copy


@pytest.mark.parametrize("gelu", ["tanh", "erf"])
@torch.inference_mode()
def test_an_mlp_has_the_same_outputs_for_any_number_of_inputs(gelu, calls):
    mlp = Mlp(24, 40, gelu)
    rewritten = packed(mlp)
    for shape in [(2, 24), (3, 5, 24), (1, 2, 70, 24)]:
        x = 3 * torch.randn(shape)
        expected = mlp(x)
        before = len(calls)
        torch.testing.assert_close(rewritten(x), expected, rtol=1e-5, atol=1e-5)
        assert len(calls) == before, "the kernels of oneDNN are used"


@torch.inference_mode()
def test_a_layer_without_a_bias_has_the_same_outputs():
    linear, x = nn.Linear(16, 9, bias=False), torch.randn(4, 16)
    torch.testing.assert_close(packed(linear)(x), linear(x), rtol=1e-5, atol=1e-5)


@NEEDS_BFLOAT16
@torch.inference_mode()
def test_outputs_in_bf16_are_as_close_to_those_in_fp32_as_pytorch_s(calls):
    mlp, x = Mlp(64, 256, "erf"), torch.randn(100, 64)
    expected = mlp(x)
    stock = deepcopy(mlp).bfloat16()(x.bfloat16()).float()
    before = len(calls)
    found = packed(mlp).bfloat16()(x.bfloat16()).float()
    assert len(calls) == before
    assert (found - expected).abs().mean() <= 1.1 * (stock - expected).abs().mean()


@torch.inference_mode()
def test_a_data_type_without_a_kernel_is_left_to_pytorch(calls):
    mlp, x = Mlp(24, 40, "erf").double(), torch.randn(3, 24, dtype=torch.float64)
    assert torch.equal(packed(mlp)(x), mlp(x))
    assert len(calls) == 4


@torch.inference_mode()
def test_every_linear_layer_of_a_davit_is_replaced():
    model = create_model("davit_nano").eval()
    nn.init.normal_(model.get_parameter("head.weight"))
    rewritten, images = packed(model), torch.randn(2, 3, 32, 32)
    assert not [module for module in rewritten.modules() if type(module) in (nn.Linear, Mlp)]
    torch.testing.assert_close(rewritten(images), model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), pytest.param(torch.bfloat16, 0.03, marks=NEEDS_BFLOAT16)],
)
@torch.inference_mode()
def test_a_mixer_has_the_same_outputs_in_every_data_type(dtype, tolerance):
    """The largest difference relative to the standard deviation of the logits; float64 has no kernel."""
    model = create_model("mixer_nano").eval()
    nn.init.normal_(model.get_parameter("head.weight"))
    images = torch.randn(4, 3, 32, 32)
    found = packed(model).to(dtype)(images.to(dtype))
    expected = model.double()(images.double())
    assert (found - expected).abs().max() < tolerance * expected.std()


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@torch.inference_mode()
def test_the_pointwise_convolutions_of_a_convmixer_are_linear_layers(activation):
    model = create_model("convmixer_nano", depth=2, activation=activation).eval()
    nn.init.normal_(model.get_parameter("head.weight"))
    images = torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)
    expected, rewritten = model(images), packed(model)
    pointwise = [m for m in rewritten.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert pointwise == []
    torch.testing.assert_close(rewritten(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.long
@torch.inference_mode()
def test_a_compiled_model_has_pytorch_s_layers():
    mlp, x = Mlp(24, 40, "tanh"), torch.randn(3, 24)
    rewritten = packed(mlp)
    rewritten(x)
    torch.testing.assert_close(torch.compile(rewritten, fullgraph=True)(x), mlp(x), rtol=1e-5, atol=1e-5)
