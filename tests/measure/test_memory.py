"""Peak memory of this process, and available memory."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from mixlab.measure import memory
from mixlab.measure.memory import available_bytes

CPU = torch.device("cpu")


PEAK = """
import psutil, torch
from mixlab.measure.memory import peak_bytes

before = peak_bytes(torch.device("cpu"))
already_free = before - psutil.Process().memory_info().rss
block = bytearray(already_free + 200_000_000)
del block
print(peak_bytes(torch.device("cpu")) - before)
"""


def test_the_peak_includes_freed_memory():
    """In a new process: another test may have configured the allocator of this one."""
    finished = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert 150_000_000 < int(finished.stdout) < 250_000_000


@pytest.mark.parametrize(("limit", "available"), [("5000\n", 3000), ("max\n", 9000), ("20000\n", 9000)])
def test_the_limit_of_a_container_applies_if_it_is_below_the_machine_s_memory(limit, available, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=9000))
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text("2000\n")
    assert available_bytes() == available


def test_without_a_control_group_all_of_the_machine_s_memory_is_available(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=9000))
    assert available_bytes() == 9000


@pytest.mark.long
def test_a_process_does_not_report_the_peak_of_its_parent():
    """getrusage on Linux would."""
    block = bytearray(1_500_000_000)
    code = "import torch; from mixlab.measure.memory import peak_bytes; print(peak_bytes(torch.device('cpu')))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(finished.stdout) < len(block)
