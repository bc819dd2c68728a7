"""Functions that run in a process of their own, in which Triton kernels are interpreted on the CPU."""

import os
from collections.abc import Callable

import torch
from torch import Tensor


def use_interpreter() -> None:
    """Start of a process: Triton reads the variable when it is imported."""
    os.environ["TRITON_INTERPRET"] = "1"
    torch.set_num_threads(1)


def make_inputs(
    shape: tuple[int, ...], kernel: tuple[int, int], dtype: torch.dtype, layout: torch.memory_format
) -> list[Tensor]:
    """Images, weights, bias, and the gradient of the outputs."""
    rng = torch.Generator().manual_seed(0)
    images, gradient = (torch.randn(shape, generator=rng).to(dtype).contiguous(memory_format=layout) for _ in range(2))
    weight, bias = torch.randn(shape[1], 1, *kernel, generator=rng), torch.randn(shape[1], generator=rng)
    return [images, weight.to(dtype), bias.to(dtype), gradient]


def outputs_and_gradients(convolve: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    *inputs, gradient = inputs
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    outputs = convolve(*inputs)
    return [outputs.detach(), *torch.autograd.grad(outputs, inputs, gradient)]


def triton_results(inputs: list[Tensor], programs: int = 24) -> list[Tensor]:
    """The results of the kernels, with at most about so many programs for the weights: the interpreter is slow."""
    from mixlab.speed.kernels import triton_depthwise

    triton_depthwise._PROGRAMS = programs
    return outputs_and_gradients(triton_depthwise.depthwise_convolution, inputs)


def without_bias(inputs: list[Tensor]) -> list[Tensor]:
    from mixlab.speed.kernels.triton_depthwise import depthwise_convolution

    images, weight, _, gradient = inputs
    return outputs_and_gradients(
        lambda images, weight: depthwise_convolution(images, weight, None), [images, weight, gradient]
    )


def check_operators() -> None:
    from mixlab.speed.kernels import triton_depthwise  # noqa: F401

    images, weight, bias, gradient = make_inputs((1, 2, 3, 3), (1, 3), torch.float32, torch.channels_last)
    with_gradients = [tensor.requires_grad_() for tensor in (images, weight, bias)]
    torch.library.opcheck(torch.ops.mixlab.triton_depthwise.default, tuple(with_gradients))
    gradients = torch.ops.mixlab.triton_depthwise_gradients.default
    torch.library.opcheck(gradients, (gradient, images.detach(), weight.detach()))
