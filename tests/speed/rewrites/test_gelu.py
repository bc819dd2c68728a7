"""GELU with its native kernel: values, gradients, and which modules are replaced."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mixlab.speed.kernels.gelu import gelu, gelu_, gelu_linear
from mixlab.speed.rewrites.gelu import NativeGelu, has_gelu, native_gelu
from mixlab.zoo.architecture import create_model

APPROXIMATIONS = ["none", "tanh"]
pytestmark = pytest.mark.parametrize("approximate", APPROXIMATIONS)


def test_gradients_are_those_of_finite_differences(approximate):
    assert torch.autograd.gradcheck(
        lambda inputs: gelu(inputs, approximate), torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    )


def test_overwritten_inputs_have_the_same_values_and_gradients(approximate):
    inputs = torch.randn(35, 21, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(35, 21, dtype=torch.float64)
    outputs, expected = gelu_(inputs * 1, approximate), F.gelu(inputs, approximate=approximate)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(
        torch.autograd.grad((outputs * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
    )


@pytest.mark.parametrize("axes", [(1,), (16,), (5, 7)])
def test_gelu_with_linear_layers_has_the_values_and_gradients_of_pytorch(approximate, axes):
    shapes = (*axes, 21), (21,), (6, 21), (6,)
    arguments = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    inputs, bias, weight, output_bias = arguments
    outputs = gelu_linear(inputs, bias, weight, output_bias, approximate)
    expected = F.linear(F.gelu(inputs + bias, approximate=approximate), weight, output_bias)
    torch.testing.assert_close(outputs, expected)
    factors = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(outputs, arguments, factors), torch.autograd.grad(expected, arguments, factors)
    )


def test_gelu_with_linear_layers_keeps_no_activations(approximate):
    inputs, bias, weight = torch.randn(30, 20), torch.randn(20), torch.randn(6, 20, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        gelu_linear(inputs.requires_grad_(), bias, weight, torch.zeros(6), approximate)
    assert {tensor.data_ptr() for tensor in saved} == {tensor.data_ptr() for tensor in (inputs, bias, weight)}


def test_results_do_not_depend_on_the_number_of_threads(approximate):
    inputs, bias = torch.randn(70, 300, requires_grad=True), torch.randn(300, requires_grad=True)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        outputs = gelu_linear(inputs, bias, torch.eye(300), torch.zeros(300), approximate)  # products are exact
        found.append((outputs, *torch.autograd.grad(outputs.square().sum(), (inputs, bias))))
    torch.set_num_threads(before)
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("dtype", "rounding", "value_error", "slope_error"),
    [(torch.float32, 0.0, 1e-6, 3e-6), (torch.bfloat16, 2**-8, 1e-4, 3e-4)],
)
def test_values_and_slopes_are_exact_up_to_rounding(approximate, dtype, rounding, value_error, slope_error):
    """Errors for inputs in [-12, 12], beyond the relative one of rounding the results to bfloat16."""
    inputs = torch.linspace(-12, 12, 100_003).to(dtype).requires_grad_()
    exact = inputs.detach().double().requires_grad_()
    outputs, expected = gelu(inputs, approximate), F.gelu(exact, approximate=approximate)
    (slope,) = torch.autograd.grad(outputs.sum(), inputs)
    (expected_slope,) = torch.autograd.grad(expected.sum(), exact)
    for found, reference, error in ((outputs, expected, value_error), (slope, expected_slope, slope_error)):
        assert ((found - reference).abs() - rounding * reference.abs()).max() < error


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_in_any_layout_and_with_extreme_values(approximate, dtype):
    inputs = torch.tensor([[0.0, 1e30, 80.0], [-80.0, float("nan"), float("inf")]], dtype=dtype).T
    torch.testing.assert_close(
        gelu(inputs.requires_grad_(), approximate), F.gelu(inputs, approximate=approximate), equal_nan=True
    )


def test_images_in_channels_last_stay_so(approximate):
    images = torch.randn(2, 8, 5, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    outputs, expected = gelu(images, approximate), F.gelu(images, approximate=approximate)
    assert outputs.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(outputs, expected)
    (gradient,), (reference,) = (torch.autograd.grad((each * each).sum(), images) for each in (outputs, expected))
    assert gradient.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(gradient, reference)


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
