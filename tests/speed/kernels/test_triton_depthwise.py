"""The Triton kernels: against float64 in Triton's interpreter, which needs no GPU, and on a GPU where there is one."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from speed.kernels.triton_process import (
    check_operators,
    make_inputs,
    outputs_and_gradients,
    triton_results,
    use_interpreter,
    without_bias,
)

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None, reason="needs Triton, which is part of PyTorch's CUDA builds"
    ),
    pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel lengths"),
]
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

KERNELS = [(1, 3), (3, 3), (4, 4), (2, 5), (5, 2)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 1e-2, torch.float16: 1e-3}


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Callable[..., Any]]:
    """Calls a function in a process in which Triton kernels are interpreted on the CPU."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=use_interpreter) as pool:
        yield lambda function, *given: pool.submit(function, *given).result()


def stock(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(images, weight, bias, padding="same", groups=len(weight))


def errors(found: list[Tensor], inputs: list[Tensor]) -> list[float]:
    """Relative to the stock results in float64 (L2 norms): of the outputs, images, weights and bias."""
    exact = outputs_and_gradients(stock, [tensor.double() for tensor in inputs])
    return [
        float((value.double() - reference).norm() / reference.norm())
        for value, reference in zip(found, exact, strict=True)
    ]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_outputs_and_gradients_are_those_of_pytorch_in_float64(interpreted, kernel, layout):
    inputs = make_inputs((2, 3, 5, 6), kernel, torch.float64, layout)
    assert max(errors(interpreted(triton_results, inputs), inputs)) < TOLERANCES[torch.float64]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_errors_are_those_of_rounding_in_each_precision(interpreted, dtype, layout):
    inputs = make_inputs((2, 3, 5, 6), (3, 3), dtype, layout)
    found = interpreted(triton_results, inputs)
    assert {value.dtype for value in found} == {dtype}
    assert max(errors(found, inputs)) < TOLERANCES[dtype]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_outputs_and_the_gradient_of_the_images_have_the_layout_of_the_images(interpreted, layout):
    outputs, of_images, *_ = interpreted(triton_results, make_inputs((2, 3, 5, 6), (3, 3), torch.float32, layout))
    assert outputs.is_contiguous(memory_format=layout)
    assert of_images.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [((1, 67, 3, 4), (3, 3)), ((2, 2, 1, 1), (3, 3)), ((3, 1, 7, 70), (1, 3)), ((1, 2, 70, 3), (3, 1))],
    ids=str,
)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_any_channels_and_images_of_several_tiles(interpreted, shape, kernel, layout):
    if shape[1] > 64 and layout == torch.contiguous_format:
        shape = (1, 5, *shape[2:])  # each channel is a program, and the interpreter is slow
    inputs = make_inputs(shape, kernel, torch.float64, layout)
    assert max(errors(interpreted(triton_results, inputs), inputs)) < TOLERANCES[torch.float64]


def test_the_gradient_of_the_weights_does_not_depend_on_the_number_of_shares(interpreted):
    inputs = make_inputs((3, 2, 6, 5), (3, 3), torch.float64, torch.channels_last)
    for programs in (1, 7, 1000):
        assert max(errors(interpreted(triton_results, inputs, programs), inputs)) < TOLERANCES[torch.float64]


def test_there_may_be_no_bias_and_the_gradient_may_have_another_layout(interpreted):
    images, weight, bias, gradient = make_inputs((2, 3, 4, 4), (3, 3), torch.float64, torch.channels_last)
    found = interpreted(without_bias, [images, weight, bias, gradient.contiguous()])
    exact = outputs_and_gradients(lambda images, weight: stock(images, weight, None), [images, weight, gradient])
    assert all(torch.allclose(*pair) for pair in zip(found, exact, strict=True))


@pytest.mark.long
def test_torch_compile_can_use_the_operators(interpreted):
    interpreted(check_operators)


_COMPILE = """
import torch
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from mixlab.speed.kernels import triton_depthwise as kernels

def compiled(kernel, pointers, constants):
    signature = {name: "constexpr" if name in constants else pointers.get(name, "i32") for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    return compile(ASTSource(kernel, signature, places, {}), target=GPUTarget("cuda", CAPABILITY, 32)).asm["cubin"]

shared = dict(K_ROWS=9, K_COLUMNS=9, SUM=kernels.tl.float32, BLOCK_ROWS=1, BLOCK_COLUMNS=16, BLOCK_CHANNELS=64)
half = "*bf16"
assert compiled(kernels._convolution_kernel, dict(images=half, taps="*fp32", bias=half, outputs=half),
                shared | dict(HAS_BIAS=True, ROWS_PER_LANE=kernels._ROWS_PER_LANE, channel_stride=1))
assert compiled(kernels._parameter_gradients_kernel, dict(gradient=half, images=half, sums="*fp32"),
                shared | dict(channel_stride=1, gradient_channel_stride=1))
"""


@pytest.mark.long
@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_are_compiled_for_gpus_without_a_gpu(capability, tmp_path):
    source = Path(__file__).parents[3] / "src"
    script = f"CAPABILITY = {capability}\n{_COMPILE}"
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(source)}
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, finished.stderr


@on_a_gpu
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (4, 4), (5, 5), (7, 7), (9, 9), (3, 8)], ids=str)
@pytest.mark.parametrize("shape", [(8, 64, 16, 16), (3, 67, 7, 9)], ids=str)
def test_results_on_a_gpu_are_those_of_pytorch(shape, kernel, dtype, layout):
    inputs = [tensor.cuda() for tensor in make_inputs(shape, kernel, dtype, layout)]
    assert max(errors(triton_results(inputs, programs=4096), inputs)) < TOLERANCES[dtype]


@on_a_gpu
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_results_on_a_gpu_are_deterministic(layout):
    inputs = [tensor.cuda() for tensor in make_inputs((32, 256, 16, 16), (9, 9), torch.bfloat16, layout)]
    first, second = (triton_results(inputs, programs=4096) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
