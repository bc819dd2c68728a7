"""Times the kernels that can compute the depthwise convolutions of a model, each with the inputs that it gets."""

from collections.abc import Callable, Mapping
from statistics import median

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import in_one_line
from mixlab.measure.timing import interleaved
from mixlab.report.progress import Log
from mixlab.speed.equivalence import Arguments, arguments_of, module_equals_stock, with_same_parameters
from mixlab.speed.plan import ComputeMode, pick_fastest
from mixlab.speed.rewrites.cuda_depthwise import DepthwiseKernel, shape_name
from mixlab.speed.rewrites.depthwise import Convolve, is_depthwise, replace_depthwise
from mixlab.speed.training_rewrites import TrainingRewrites

_ROUNDS, _SAMPLE_SECONDS = 3, 0.02


def cuda_rewrites(
    model: nn.Module,
    images: Float[Tensor, "image channel row column"],
    mode: ComputeMode,
    kernels: Mapping[DepthwiseKernel, Convolve],
    triton: str | None,
    log: Log,
) -> TrainingRewrites:
    """The rewrites for a training of `model` on a CUDA device: see `fastest_kernels`.

    triton  the `triton_build`; None without Triton
    """
    fastest = fastest_kernels(model, images, mode, kernels, log)
    build = triton if "triton" in fastest.values() else None
    return TrainingRewrites(kernel_build=build, depthwise=tuple(fastest.items()))


def fastest_kernels(
    model: nn.Module,
    images: Float[Tensor, "image channel row column"],
    mode: ComputeMode,
    kernels: Mapping[DepthwiseKernel, Convolve],
    log: Log,
) -> dict[str, DepthwiseKernel]:
    """The fastest kernels for each shape of depthwise convolutions, without shapes for which PyTorch's choice is.

    The first convolution of each shape is timed: forward and backward pass.

    model    a stock model in training mode and in the layout of `mode`, which does not change
    images   the images of a step
    kernels  the functions to try. One that fails, or has other outputs or gradients than the stock module, is not used,
             and `log` is called with a message.
    """
    model = with_same_parameters(model)
    stock = _first_of_each_shape(model)
    with mode.autocast(images.device):  # in the precision in which a convolution gets them in a step
        inputs = {shape: given.inputs for shape, given in arguments_of(model, images, stock).items()}
    chosen: dict[str, DepthwiseKernel] = {}
    for shape, images in inputs.items():
        module = stock[shape]
        modules: dict[DepthwiseKernel | None, nn.Module] = {None: module}
        for kernel, convolve in kernels.items():
            if kernel != "triton" and not all(size % 2 for size in module.kernel_size):
                continue  # PyTorch pads the images of even kernels first
            replaced = _replaced(module, convolve)
            if reason := _reason_against(replaced, module, images, mode):
                log(f"The {kernel} kernels for depthwise convolutions {shape} in {mode} are not used: {reason}.")
            else:
                modules[kernel] = replaced
        steps = {str(kernel): _step(modules[kernel], images, mode) for kernel in modules}
        seconds = interleaved(steps, rounds=_ROUNDS, sample_seconds=_SAMPLE_SECONDS)
        medians: dict[DepthwiseKernel | None, float] = {kernel: median(seconds[str(kernel)]) for kernel in modules}
        fastest = pick_fastest(medians)
        if fastest is not None:
            chosen[shape] = fastest
    return chosen


def _first_of_each_shape(model: nn.Module) -> dict[str, nn.Conv2d]:
    found: dict[str, nn.Conv2d] = {}
    for module in model.modules():
        if is_depthwise(module):
            found.setdefault(shape_name(module), module)
    return found


def _replaced(module: nn.Conv2d, convolve: Convolve) -> nn.Module:
    return replace_depthwise(nn.Sequential(module), lambda _: convolve)[0]  # pyright: ignore[reportIndexIssue]


def _reason_against(module: nn.Module, stock: nn.Module, inputs: Tensor, mode: ComputeMode) -> str | None:
    try:
        if module_equals_stock(module, stock, Arguments(inputs.float()), mode):
            return None
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a kernel that can't be compiled or launched fails in many ways
        return in_one_line(error)
    return "their results are not those of PyTorch"


def _step(module: nn.Module, inputs: Tensor, mode: ComputeMode) -> Callable[[], object]:
    inputs = inputs.clone().requires_grad_()
    wanted = [inputs, *module.parameters()]
    with mode.autocast(inputs.device):
        gradient = torch.randn_like(module(inputs))

    def step() -> None:
        with mode.autocast(inputs.device):
            outputs = module(inputs)
        torch.autograd.grad(outputs, wanted, gradient)

    return step
