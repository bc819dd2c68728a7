"""Depthwise convolutions with other kernels of PyTorch or Triton: where they exist, and that they are applied."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.backends import cudnn

from mixlab.speed.kernels.library import KernelsUnavailableError
from mixlab.speed.rewrites.cuda_depthwise import (
    convolve_with,
    has_depthwise,
    selectable_kernels,
    triton_build,
    use_kernels,
)
from mixlab.speed.rewrites.depthwise import DepthwiseConv2d

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
needs_the_setting = pytest.mark.skipif(not hasattr(cudnn, "depthwise_kernel"), reason="needs PyTorch 2.15")


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Conv2d(6, 6, 3, groups=6, padding=1),
        nn.Conv2d(6, 6, 5, groups=6, padding="same", bias=False),
    )


def test_only_depthwise_convolutions_of_the_given_shapes_are_replaced():
    replaced = use_kernels(network(), {"6x5x5": "native"})
    assert [type(module) for module in replaced.children()] == [nn.Conv2d, nn.Conv2d, DepthwiseConv2d]


@pytest.mark.parametrize(("model", "found"), [(network(), True), (nn.Conv2d(3, 6, 3, padding=1), False)], ids=str)
def test_a_model_has_depthwise_convolutions_or_not(model, found):
    assert has_depthwise(model) is found


@needs_the_setting
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("kernel", ["cudnn", "native"])
@pytest.mark.parametrize(("device", "tolerance"), [("cpu", 0), pytest.param("cuda", 1e-5, marks=on_a_gpu)])
def test_selected_kernels_have_the_function_the_gradients_and_the_layout_of_stock_ones(
    device, tolerance, kernel, layout
):
    """On a CPU, the setting selects no kernel."""
    model = network().to(device, memory_format=layout)  # pyright: ignore[reportCallIssue]
    other = use_kernels(copy.deepcopy(model), {"6x3x3": kernel, "6x5x5": kernel})
    images = torch.randn(2, 3, 6, 7, device=device).contiguous(memory_format=layout)
    outputs = [each(images) for each in (model, other)]
    torch.testing.assert_close(*outputs, rtol=tolerance, atol=tolerance)
    assert outputs[1].is_contiguous(memory_format=layout)
    for each in outputs:
        each.square().sum().backward()
    parameters = zip(model.parameters(), other.parameters(), strict=True)
    assert all(torch.allclose(one.grad, two.grad) for one, two in parameters)  # pyright: ignore[reportArgumentType]


@needs_the_setting
def test_the_setting_is_made_in_both_passes_and_restored(monkeypatch):
    from mixlab.speed.kernels import selected_depthwise

    seen: list[str] = []

    @contextmanager
    def recorded(kernel: str) -> Iterator[None]:
        with setting(kernel):
            seen.append(cudnn.depthwise_kernel)
            yield

    setting = selected_depthwise._selected
    monkeypatch.setattr(selected_depthwise, "_selected", recorded)
    outputs = convolve_with("native")(torch.randn(2, 6, 5, 5, requires_grad=True), torch.randn(6, 1, 3, 3), None)
    assert (seen, cudnn.depthwise_kernel) == (["native"], "auto")
    outputs.sum().backward()
    assert (seen, cudnn.depthwise_kernel) == (["native", "native"], "auto")


@needs_the_setting
@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_torch_compile_can_use_the_operators_of_selected_kernels():
    from mixlab.speed.kernels import selected_depthwise  # noqa: F401

    images, weight, bias = torch.randn(2, 3, 5, 5), torch.randn(3, 1, 3, 3), torch.randn(3)
    inputs = [tensor.requires_grad_() for tensor in (images, weight, bias)]
    torch.library.opcheck(torch.ops.mixlab.selected_depthwise.default, (*inputs, "native"))


@pytest.mark.parametrize(
    ("settings", "kernels"),
    [(SimpleNamespace(depthwise_kernel="auto"), ["cudnn", "native"]), (SimpleNamespace(), [])],
    ids=["PyTorch 2.15", "older"],
)
def test_kernels_can_be_selected_since_pytorch_2_15(settings, kernels):
    assert selectable_kernels(settings) == kernels


def not_installed(name: str) -> str:
    raise PackageNotFoundError(name)


def test_without_triton_the_reason_says_so():
    with pytest.raises(KernelsUnavailableError, match=r"^Triton is not installed$"):
        triton_build((9, 0), not_installed)


def test_an_old_gpu_is_a_reason_with_its_compute_capability():
    with pytest.raises(KernelsUnavailableError, match=r"^they need compute capability 8\.0, and this GPU has 7\.5$"):
        triton_build((7, 5), lambda name: "3.6.0")


def test_the_build_names_the_version_the_gpu_and_the_source():
    version, capability, digest = triton_build((9, 0), lambda name: "3.6.0").split(", ")
    assert (version, capability, len(digest)) == ("Triton 3.6.0", "compute capability 9.0", 12)
