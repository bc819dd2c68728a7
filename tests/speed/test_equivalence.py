"""Replaced modules are compared with the stock ones before they are used."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mixlab.speed import training_rewrites
from mixlab.speed.equivalence import Arguments, equals_stock, module_equals_stock, with_same_parameters
from mixlab.speed.plan import ComputeMode
from mixlab.speed.rewrites import depthwise
from mixlab.speed.rewrites.attention import _UnfusedAttention
from mixlab.speed.training_rewrites import TrainingRewrites
from mixlab.zoo.architecture import create_model


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return create_model("convmixer_nano", channels=16, depth=2, classes=3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("rewrite", ["fused_convmixer", "native_depthwise", "split_depthwise", "native_gelu"])
def test_all_rewrites_have_the_results_of_the_stock_modules(model, rewrite, precision):
    assert equals_stock(model, torch.randn(4, 3, 32, 32), TrainingRewrites((rewrite,)), ComputeMode(precision))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("names", [("untransposed_mixer",), ("untransposed_mixer", "native_gelu")])
def test_the_rewrites_of_a_mixer_have_the_results_of_its_modules(names, precision):
    torch.manual_seed(0)
    mixer, images = create_model("mixer_nano", classes=3), torch.randn(4, 3, 32, 32)
    assert equals_stock(mixer, images, TrainingRewrites(names), ComputeMode(precision))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("factor", [1.02, float("nan")])
def test_a_wrong_gradient_is_found(model, monkeypatch, precision, factor):
    right = depthwise._weight_gradient
    monkeypatch.setattr(depthwise, "_weight_gradient", lambda *given: factor * right(*given))
    assert not equals_stock(
        model, torch.randn(4, 3, 32, 32), TrainingRewrites(("split_depthwise",)), ComputeMode(precision)
    )


@pytest.mark.parametrize(
    "names", [("unfused_attention",), ("native_gelu", "unfused_attention")], ids=["alone", "with replaced modules"]
)
@pytest.mark.parametrize("model", ["davit_nano", "vit_nano"])
def test_a_wrong_gradient_of_unfused_attention_is_found(model, names, monkeypatch):
    torch.manual_seed(0)
    network, images = create_model(model, classes=3).train(), torch.randn(4, 3, 32, 32)
    rewrites, mode, right = TrainingRewrites(names), ComputeMode("bf16"), _UnfusedAttention.backward
    assert equals_stock(network, images, rewrites, mode)

    def wrong(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
        of_query, of_key, of_value = right(*given)
        return of_query, of_key, 1.1 * of_value

    monkeypatch.setattr(_UnfusedAttention, "backward", wrong)
    assert not equals_stock(network, images, rewrites, mode)


def test_modules_with_further_arguments_are_compared():
    """Attention of PVTv2 also gets the size of the map."""
    torch.manual_seed(0)
    network = create_model("timm:pvt_v2_b0", classes=3).train()
    assert equals_stock(
        network, torch.randn(2, 3, 64, 64), TrainingRewrites(("unfused_attention",)), ComputeMode("bf16")
    )


def test_a_wrong_output_of_one_kind_of_module_is_found(model, monkeypatch):
    def wrong(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return depthwise._split_depthwise_convolution(images, weight, bias) + 0.01

    monkeypatch.setitem(
        training_rewrites._REPLACE, "split_depthwise", lambda model: depthwise._replace_wide(model, wrong)
    )
    assert not equals_stock(model, torch.randn(4, 3, 32, 32), TrainingRewrites(("split_depthwise",)), ComputeMode())


def mixer() -> nn.Module:
    torch.manual_seed(0)
    return create_model("mixer_nano", classes=3, depth=2)


def equals(model: nn.Module) -> bool:
    return equals_stock(model, torch.randn(4, 3, 32, 32), TrainingRewrites(("untransposed_mixer",)), ComputeMode())


@pytest.mark.parametrize("add", [nn.Module.register_parameter, nn.Module.register_buffer])
def test_modules_with_other_parameters_or_buffers_are_not_equal(add):
    model = mixer()
    assert equals(model)
    add(model.get_submodule("body.1"), "scale", nn.Parameter(torch.ones(1)))
    assert not equals(model)


class Rounding(nn.Module):
    """The identity, but for a relative error of 5e-4 in fp32, as in PyTorch's sums over many values."""

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs + 1e4) - 1e4


def test_a_module_may_be_more_exact_than_the_stock_one():
    """The gradient of a bias in fp32 and channels last differs by 3e-4 between PyTorch and the native kernels."""
    inputs = Arguments(torch.randn(4, 3))
    assert module_equals_stock(nn.Identity(), Rounding(), inputs, ComputeMode())
    assert not module_equals_stock(Rounding(), nn.Identity(), inputs, ComputeMode())


def test_stochastic_depth_draws_the_same_in_float64():
    torch.manual_seed(0)
    mixer = create_model("mixer_nano", classes=3, stochastic_depth=0.5).train()
    images, rewrites = torch.randn(4, 3, 32, 32), TrainingRewrites(("untransposed_mixer",))
    assert equals_stock(mixer, images, rewrites, ComputeMode())


def test_a_later_module_with_other_modules_in_it_is_compared(monkeypatch):
    """The rewrite computes GELU whatever the activation is, and only the second block has another one."""
    model = mixer()
    model.get_submodule("body.1.token_mlp").activation = Hardswish()
    assert not equals(model)


class Hardswish(nn.Hardswish):
    approximate = "none"


def test_a_copy_with_the_same_parameters_has_its_own_buffers(model):
    copied = with_same_parameters(model)
    assert all(ours is theirs for ours, theirs in zip(copied.parameters(), model.parameters(), strict=True))
    assert all(ours is not theirs for ours, theirs in zip(copied.buffers(), model.buffers(), strict=True))


def test_the_model_does_not_change(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    equals_stock(model, torch.randn(4, 3, 32, 32), TrainingRewrites(("fused_convmixer",)), ComputeMode("bf16"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
