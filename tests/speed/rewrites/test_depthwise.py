"""Replaced depthwise convolutions: the function and the gradients of stock ones, and which are replaced."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.speed.plan import ComputeMode
from mixlab.speed.rewrites.depthwise import DepthwiseConv2d, has_wide_depthwise, native_depthwise, split_depthwise
from mixlab.zoo.architecture import create_model

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel lengths")
KERNELS = [(1, 5), (3, 5), (5, 5), (7, 7), (9, 9), (3, 11), (5, 17), (4, 4), (3, 6), (2, 10)]
REWRITES = [split_depthwise, native_depthwise]


def depthwise(kernel: int | tuple[int, int], channels: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, **({"groups": channels, "padding": "same"} | options))  # pyright: ignore


@pytest.fixture(params=REWRITES)
def rewritten(request: pytest.FixtureRequest) -> Callable[[nn.Conv2d], nn.Module]:
    """Makes a copy of a convolution with other gradients."""
    return lambda convolution: next(request.param(nn.Sequential(copy.deepcopy(convolution))).children())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_are_those_of_finite_differences(rewritten, kernel, bias):
    module = rewritten(depthwise(kernel, bias=bias).double())
    images = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    parameters = tuple(module.parameters())
    assert isinstance(module, DepthwiseConv2d) and len(parameters) == 1 + bias

    def function(images: Tensor, *parameters: Tensor) -> Tensor:
        names = [name for name, _ in module.named_parameters()]
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (images,))

    assert torch.autograd.gradcheck(function, (images, *parameters))


def all_gradients(module: nn.Module, images: Tensor, precision: str) -> list[Tensor]:
    images = images.clone().requires_grad_()
    with ComputeMode(precision).autocast(CPU):  # pyright: ignore[reportArgumentType]
        outputs = module(images)
    (outputs.float() * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum().backward()
    assert images.grad is not None
    return [outputs.float(), images.grad, *(parameter.grad for parameter in module.parameters())]  # pyright: ignore


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("channels", "shape"), [(16, (5, 8, 8)), (17, (1, 16, 12)), (96, (3, 7, 7))])
@pytest.mark.parametrize("kernel", [4, 5, 7, 9])
def test_gradients_equal_stock_gradients_in_both_precisions_and_layouts(
    rewritten, kernel, channels, shape, layout, precision, tolerance
):
    stock = depthwise(kernel, channels).to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    images = torch.randn(shape[0], channels, *shape[1:]).contiguous(memory_format=layout)
    exact = all_gradients(copy.deepcopy(stock).double(), images.double(), "fp32")
    found = all_gradients(rewritten(stock), images, precision)
    for value, reference in zip(found, exact, strict=True):
        assert (value - reference).abs().max() <= tolerance * reference.abs().max()


@pytest.mark.parametrize("rewrite", REWRITES)
@settings(max_examples=40, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 10), st.integers(4, 12)),
    channels=st.integers(1, 70),
    shape=st.tuples(st.integers(1, 35), st.integers(1, 12), st.integers(1, 18)),
)
def test_gradients_of_any_shape_are_those_of_stock_modules(rewrite, kernel, channels, shape):
    """Odd and even kernels, also larger than the images, and channels and batches that no block divides."""
    stock = depthwise(kernel, channels).double()
    module = next(rewrite(nn.Sequential(copy.deepcopy(stock))).children())
    assert isinstance(module, DepthwiseConv2d)
    images = torch.randn(shape[0], channels, *shape[1:], dtype=torch.float64)
    for value, reference in zip(*(all_gradients(each, images, "fp32") for each in (module, stock)), strict=True):
        torch.testing.assert_close(value, reference)


def test_gradients_are_deterministic(rewritten):
    module, images = rewritten(depthwise(7, 32)), torch.randn(4, 32, 9, 9)
    first = all_gradients(module, images, "bf16")
    module.zero_grad()
    assert all(torch.equal(*pair) for pair in zip(first, all_gradients(module, images, "bf16"), strict=True))


@pytest.mark.parametrize(
    "convolution",
    [
        depthwise(3),
        depthwise((5, 3)),
        depthwise(4, padding=2),
        depthwise(5, groups=1),
        depthwise(5, padding=0),
        depthwise(5, padding=2, stride=2),
        depthwise(5, dilation=2),
        depthwise(5, padding_mode="circular"),
        nn.Conv2d(3, 6, 5, groups=3, padding="same"),
    ],
    ids=str,
)
def test_other_convolutions_are_not_replaced(convolution):
    model = nn.Sequential(convolution)
    assert not has_wide_depthwise(model)
    assert split_depthwise(model)[0] is convolution  # pyright: ignore[reportIndexIssue]


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_a_convolution_whose_weight_is_computed_is_not_replaced(norm):
    assert not has_wide_depthwise(nn.Sequential(norm(depthwise(5))))


@pytest.mark.parametrize("rewrite", REWRITES)
def test_a_model_keeps_its_names_parameters_and_logits(rewrite):
    model = create_model("convmixer_nano", classes=3).eval()
    images, before = torch.randn(2, 3, 32, 32), dict(model.named_parameters())
    logits, names = model(images), list(model.state_dict())
    assert has_wide_depthwise(model)
    rewrite(model)
    assert not has_wide_depthwise(model)
    assert list(model.state_dict()) == names
    assert all(parameter is before[name] for name, parameter in model.named_parameters())
    assert torch.equal(model(images), logits)
    assert {type(module) for module in model.modules() if isinstance(module, nn.Conv2d)} == {
        nn.Conv2d,
        DepthwiseConv2d,
    }
    assert not any(module.training for module in model.modules())


def test_the_padding_of_the_stock_module_may_be_a_number(rewritten):
    stock = depthwise(5, padding=2)
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(rewritten(stock)(images), F.conv2d(images, stock.weight, stock.bias, padding=2, groups=3))
