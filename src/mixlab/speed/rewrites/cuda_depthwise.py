"""Depthwise convolutions on a CUDA device, with the kernels that are fastest for their shapes.

PyTorch selects between cuDNN's kernels and its own ones by a rule. Since version 2.15,
`torch.backends.cudnn.depthwise_kernel` overrides it ("cudnn", "native"). mixlab's kernels in Triton are a third choice.
None is the fastest for all shapes, precisions and layouts, so they are timed (depthwise_choice.py).
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from mixlab.speed.kernels.library import KernelsUnavailableError
from mixlab.speed.rewrites.depthwise import Convolve, is_depthwise, replace_depthwise

DepthwiseKernel = Literal["cudnn", "native", "triton"]
"""Whose kernels compute a convolution: cuDNN's, PyTorch's own ones, or mixlab's in Triton."""

_MIN_CAPABILITY = (8, 0)
"""Compute capability of the oldest GPUs that have bf16, for which the kernels are compiled in the tests."""


def has_depthwise(model: nn.Module) -> bool:
    """Whether the model has depthwise convolutions that can be replaced."""
    return any(map(is_depthwise, model.modules()))


def shape_name(convolution: nn.Conv2d) -> str:
    """The channels, rows and columns of the kernel, such as "768x7x7"."""
    return "x".join(map(str, (convolution.out_channels, *convolution.kernel_size)))


def use_kernels(model: nn.Module, kernels: Mapping[str, DepthwiseKernel]) -> nn.Module:
    """Compute the depthwise convolutions whose `shape_name` is a key of `kernels` with these kernels."""
    functions = {kernel: convolve_with(kernel) for kernel in set(kernels.values())}
    return replace_depthwise(
        model,
        lambda convolution: functions[kernels[name]] if (name := shape_name(convolution)) in kernels else None,
    )


def selectable_kernels(cudnn: object = torch.backends.cudnn) -> list[DepthwiseKernel]:
    """The values of `torch.backends.cudnn.depthwise_kernel` in addition to "auto"; none before PyTorch 2.15."""
    return ["cudnn", "native"] if hasattr(cudnn, "depthwise_kernel") else []


def require_selectable(kernels: Collection[DepthwiseKernel]) -> None:
    """Raises KernelsUnavailableError if this version of PyTorch can't select one of these kernels."""
    if not {*kernels} <= {"triton", *selectable_kernels()}:
        raise KernelsUnavailableError(f"they need PyTorch 2.15 or newer, and this is {torch.__version__}")


def triton_build(capability: tuple[int, int], installed: Callable[[str], str] = version) -> str:
    """The version of Triton, the compute capability of the GPU, and a digest of the kernels' source.

    installed  returns the version of a package

    Raises KernelsUnavailableError without Triton, or if the GPU is too old.
    """
    try:
        triton = installed("triton")
    except PackageNotFoundError as error:
        raise KernelsUnavailableError("Triton is not installed") from error
    if capability < _MIN_CAPABILITY:
        raise KernelsUnavailableError(
            f"they need compute capability {_as_text(_MIN_CAPABILITY)}, and this GPU has {_as_text(capability)}"
        )
    source = Path(__file__).parents[1] / "kernels" / "triton_depthwise.py"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    return f"Triton {triton}, compute capability {_as_text(capability)}, {digest}"


def triton_build_here() -> str:
    """`triton_build` with the current GPU. Raises KernelsUnavailableError without one as well."""
    if not torch.cuda.is_available():
        raise KernelsUnavailableError("they need a CUDA device, and PyTorch finds none")
    return triton_build(torch.cuda.get_device_capability())


def convolve_with(kernel: DepthwiseKernel) -> Convolve:
    """The convolution with these kernels, and their gradients."""
    # The modules register operators and need Triton, so they are imported only where they are used.
    if kernel == "triton":
        return import_module("mixlab.speed.kernels.triton_depthwise").depthwise_convolution
    return partial(import_module("mixlab.speed.kernels.selected_depthwise").depthwise_convolution, kernel=kernel)


def _as_text(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
