"""The peak memory of a call."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from mixlab.measure.live_memory import peak_bytes_of

CPU = torch.device("cpu")
IMAGES = torch.zeros(1, 1, 10, 10)  # 400 bytes


def peak(network: Callable[[Tensor], Tensor], images: Tensor = IMAGES) -> int:
    with torch.no_grad():
        return peak_bytes_of(lambda: network(images), images.device)


@pytest.mark.parametrize("layers", [2, 3, 7])
def test_a_chain_holds_two_tensors_at_a_time(layers):
    assert peak(nn.Sequential(*(nn.Sigmoid() for _ in range(layers)))) == 800


def test_weights_and_images_are_not_counted():
    assert peak(nn.Identity()) == 0
    assert peak(nn.Linear(10, 20, bias=False)) == 800


def test_operations_in_place_and_views_take_no_memory():
    assert peak(lambda images: images.clone().relu_().flatten()[:50]) == 400


def test_what_the_first_call_keeps_is_not_counted():
    workspaces: list[Tensor] = []

    def network(images: Tensor) -> Tensor:
        if not workspaces:
            workspaces.append(torch.zeros(1000))
        return images.clone()

    assert peak(network) == 400


def test_all_scores_of_attention_are_counted_and_their_softmax_too():
    tokens = torch.zeros(1, 50, 2)
    assert peak(lambda tokens: (tokens @ tokens.mT).softmax(-1) @ tokens, tokens) == 2 * 50 * 50 * 4


@pytest.mark.parametrize(("kernel", "least", "most"), [(SDPBackend.MATH, 2, 3), (SDPBackend.FLASH_ATTENTION, 0, 1)])
def test_memory_inside_an_operator_is_counted(kernel, least, most):
    """In matrices of all scores: two if attention is computed step by step, a part of one if it is in blocks."""
    tokens = torch.zeros(1, 1, 4096, 8)
    with sdpa_kernel(kernel):
        taken = peak(lambda tokens: F.scaled_dot_product_attention(tokens, tokens, tokens), tokens)
    assert least < (taken - tokens.nbytes) / (4096 * 4096 * 4) < most


def test_the_level_of_the_profiler_s_messages_is_as_before(monkeypatch):
    monkeypatch.delenv("KINETO_LOG_LEVEL", raising=False)
    peak(nn.Identity())
    assert "KINETO_LOG_LEVEL" not in os.environ


RESIDENT = """
import torch
from pathlib import Path
from mixlab.measure.live_memory import peak_bytes_of
from mixlab.measure.memory import peak_bytes
from mixlab.zoo.architecture import architecture

cpu = torch.device("cpu")
network, images = architecture("convmixer_nano", image_size=128).build().eval(), torch.zeros(16, 3, 128, 128)
with torch.no_grad():
    recorded = peak_bytes_of(lambda: network(images), cpu)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is the present memory
    before = peak_bytes(cpu)
    network(images)
print(recorded, peak_bytes(cpu) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process can be reset on Linux only")
def test_the_peak_is_that_of_the_resident_memory_of_a_process_that_returns_each_freed_block():
    returning = {"MALLOC_MMAP_THRESHOLD_": "4096", "MALLOC_MMAP_MAX_": "1000000", "MALLOC_TRIM_THRESHOLD_": "0"}
    finished = subprocess.run(
        [sys.executable, "-c", RESIDENT], capture_output=True, text=True, check=True, env=os.environ | returning
    )
    recorded, resident = map(int, finished.stdout.split())
    assert recorded > 50_000_000
    assert resident == pytest.approx(recorded, rel=0.03)
    assert not finished.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_peak_is_that_of_pytorch_s_allocator():
    images = torch.zeros(1, 1, 512, 512, device="cuda")
    held = torch.zeros(512, 512, device="cuda")
    assert peak(lambda images: (images + held) * 2, images) == 2 * images.nbytes
