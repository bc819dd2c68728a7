"""Rewrites of trainings: the kernels that they need on this machine."""

import pytest
import torch

from mixlab.errors import UserError
from mixlab.speed.rewrites import cuda_depthwise
from mixlab.speed.training_rewrites import TrainingRewrites

TRITON = TrainingRewrites(kernel_build="Triton 3.6.0", depthwise=(("8x5x5", "triton"),))


def test_without_a_gpu_triton_s_kernels_are_an_error_with_the_way_out(monkeypatch):
    """As on the resumption of a training on another machine."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        UserError,
        match=r"^The plan of this training uses kernels that are not available on this machine: they need a CUDA "
        r"device, and PyTorch finds none\. Continue on a machine like the one that started it, or train in another",
    ):
        TRITON.build_here()


def test_an_older_pytorch_that_can_t_select_depthwise_kernels_is_an_error(monkeypatch):
    monkeypatch.setattr(cuda_depthwise, "selectable_kernels", list)
    with pytest.raises(UserError, match=r"not available on this machine: they need PyTorch 2\.15 or newer"):
        TrainingRewrites(depthwise=(("8x5x5", "cudnn"),)).build_here()


def test_rewrites_without_kernels_need_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert TrainingRewrites(("unfused_attention",), depthwise=(("8x5x5", "native"),)).build_here() is None
