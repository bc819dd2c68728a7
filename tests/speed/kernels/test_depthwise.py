"""The native kernels of depthwise convolutions if memory runs out. Their gradients: tests/speed/rewrites."""

import pytest
import torch

from mixlab.speed.kernels.activation_norm import Norm, depthwise_activation_norm
from mixlab.speed.kernels.depthwise import convolution_gradients

SIZE = 3_000_000
"""Rows of an image and columns of a kernel whose padded plane is larger than the address space of any process."""


@pytest.fixture
def column() -> torch.Tensor:
    return torch.zeros(1, 1, SIZE, 1)


@pytest.fixture
def wide_kernel() -> torch.Tensor:
    return torch.zeros(1, 1, 1, SIZE)


def test_too_little_memory_for_gradients_is_an_error_of_python(column, wide_kernel):
    with pytest.raises(MemoryError, match="depthwise_backward has too little memory"):
        convolution_gradients("depthwise_backward", column, wide_kernel, column)


def test_too_little_memory_for_a_fused_forward_pass_is_an_error_of_python(column, wide_kernel):
    one = torch.ones(1)
    with pytest.raises(MemoryError, match="depthwise_activation_forward has too little memory"):
        depthwise_activation_norm(column, wide_kernel, one, "gelu", Norm(one, one, 1e-5))
