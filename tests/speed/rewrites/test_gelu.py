"""GELU with its native kernel: values, gradients, and which modules are replaced."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mixlab.speed.kernels.gelu import gelu
from mixlab.speed.rewrites.gelu import NativeGelu, has_gelu, native_gelu
from mixlab.zoo.architecture import create_model

APPROXIMATIONS = ["none", "tanh"]
pytestmark = pytest.mark.parametrize("approximate", APPROXIMATIONS)


def test_gradients_are_those_of_finite_differences(approximate):
    assert torch.autograd.gradcheck(
        lambda inputs: gelu(inputs, approximate), torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    )


@pytest.mark.parametrize(
    ("dtype", "value_error", "slope_error"), [(torch.float32, 1e-6, 3e-6), (torch.bfloat16, 0.04, 0.008)]
)
def test_values_and_slopes_are_exact_up_to_rounding(approximate, dtype, value_error, slope_error):
    """Absolute errors for inputs in [-12, 12]; values and slopes of bfloat16 have 8 significant bits."""
    inputs = torch.linspace(-12, 12, 100_003).to(dtype).requires_grad_()
    exact = inputs.detach().double().requires_grad_()
    outputs, expected = gelu(inputs, approximate), F.gelu(exact, approximate=approximate)
    (slope,) = torch.autograd.grad(outputs.sum(), inputs)
    (expected_slope,) = torch.autograd.grad(expected.sum(), exact)
    assert (outputs - expected).abs().max() < value_error
    assert (slope - expected_slope).abs().max() < slope_error


def test_tensors_in_any_layout_and_with_extreme_values(approximate):
    inputs = torch.tensor([[0.0, 1e30, 80.0], [-80.0, float("nan"), float("inf")]]).T
    torch.testing.assert_close(
        gelu(inputs.requires_grad_(), approximate), F.gelu(inputs, approximate=approximate), equal_nan=True
    )


@pytest.mark.parametrize("name", ["mixer_nano", "davit_nano", "vit_nano"])
def test_a_model_keeps_its_state_and_its_logits_in_evaluation(approximate, name):
    model = create_model(name, classes=3).eval()
    stock, images = copy.deepcopy(model), torch.randn(2, 3, 32, 32)
    assert has_gelu(model)
    assert not has_gelu(native_gelu(model))
    assert not any(module.training for module in model.modules())
    assert list(model.state_dict()) == list(stock.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images), stock(images))


def test_the_approximation_stays_the_same(approximate):
    (module,) = native_gelu(nn.Sequential(nn.GELU(approximate=approximate))).children()
    assert isinstance(module, NativeGelu)
    assert module.approximate == approximate
