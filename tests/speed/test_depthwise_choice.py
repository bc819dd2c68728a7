"""The kernels of depthwise convolutions are selected by shape, and only if they have PyTorch's results."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.measure import timing
from mixlab.speed import depthwise_choice
from mixlab.speed.depthwise_choice import cuda_rewrites, fastest_kernels
from mixlab.speed.plan import ComputeMode
from mixlab.speed.rewrites.cuda_depthwise import DepthwiseKernel
from mixlab.speed.rewrites.depthwise import Convolve

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel lengths")


def network(*kernels: int) -> nn.Module:
    """One depthwise convolution after another."""
    return nn.Sequential(*(nn.Conv2d(4, 4, kernel, groups=4, padding="same") for kernel in kernels))


def stock(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(images, weight, bias, padding="same", groups=len(weight))


def wrong(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return 1.02 * stock(images, weight, bias)


def failing(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    raise RuntimeError("no kernel\nfor this device")


def no_message(message: str) -> None:
    raise AssertionError(message)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Callable[..., Tensor]]:
    """Makes a convolution whose step takes so many seconds, or a function of the module; a stock one takes one."""
    now = [0.0]

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            return now[0]

    def step(module: Any, inputs: Tensor, mode: ComputeMode) -> Callable[[], object]:
        seconds_of = getattr(getattr(module, "convolve", None), "seconds", lambda module: 1.0)

        def run() -> None:
            now[0] += seconds_of(module)

        return run

    monkeypatch.setattr(timing, "time", Clock)
    monkeypatch.setattr(depthwise_choice, "_step", step)

    def taking(seconds: Any) -> Callable[..., Tensor]:
        def convolve(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return stock(images, weight, bias)

        convolve.seconds = seconds if callable(seconds) else lambda module: seconds  # pyright: ignore[reportFunctionMemberAccess]
        return convolve

    return taking


IMAGES = torch.randn(2, 4, 8, 8)


@pytest.mark.parametrize(("seconds", "chosen"), [(0.5, {"4x5x5": "triton"}), (0.97, {}), (2.0, {})])
def test_other_kernels_are_used_only_if_they_save_five_per_cent(clock, seconds, chosen):
    assert fastest_kernels(network(5), IMAGES, ComputeMode(), {"triton": clock(seconds)}, no_message) == chosen


def test_each_shape_has_the_kernels_that_are_fastest_for_it(clock):
    kernels: dict[DepthwiseKernel, Convolve] = {
        "triton": clock(lambda module: 0.5 if module.kernel_size == (5, 5) else 3.0),
        "native": clock(lambda module: 0.6 if module.kernel_size != (7, 7) else 3.0),
    }
    model = network(3, 5, 7, 5)
    chosen = fastest_kernels(model, IMAGES, ComputeMode("bf16"), kernels, no_message)
    assert chosen == {"4x3x3": "native", "4x5x5": "triton"}
    assert {type(module) for module in model} == {nn.Conv2d}  # pyright: ignore[reportGeneralTypeIssues]


def test_pytorch_s_other_kernels_are_not_tried_for_even_sizes(clock):
    kernels: dict[DepthwiseKernel, Convolve] = {"cudnn": clock(0.1), "native": clock(0.1), "triton": clock(0.5)}
    assert fastest_kernels(network(4), IMAGES, ComputeMode(), kernels, no_message) == {"4x4x4": "triton"}


def test_kernels_with_other_results_are_not_used_with_a_message():
    messages: list[str] = []
    assert not fastest_kernels(network(5), IMAGES, ComputeMode("bf16"), {"triton": wrong}, messages.append)
    assert messages == [
        "The triton kernels for depthwise convolutions 4x5x5 in bf16, contiguous are not used: their results are not "
        "those of PyTorch."
    ]


def test_kernels_that_fail_are_not_used_and_the_message_has_the_first_line_of_the_reason():
    messages: list[str] = []
    assert not fastest_kernels(network(5), IMAGES, ComputeMode(), {"cudnn": failing}, messages.append)
    assert messages[0].endswith("are not used: RuntimeError: no kernel.")


@pytest.mark.parametrize(("kernel", "build"), [("triton", "Triton 3.6"), ("native", None)])
def test_the_build_of_triton_is_part_of_the_rewrites_that_use_it(clock, kernel, build):
    rewrites = cuda_rewrites(network(5), IMAGES, ComputeMode(), {kernel: clock(0.5)}, "Triton 3.6", no_message)
    assert (rewrites.depthwise, rewrites.kernel_build) == ((("4x5x5", kernel),), build)
