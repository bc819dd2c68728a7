"""The peak of this process, and what it could still be given."""

import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch

from mixlab.measure import memory
from mixlab.measure.memory import available_bytes, peak_bytes

CPU = torch.device("cpu")


def test_the_peak_grows_by_what_was_held_for_a_while():
    before = peak_bytes(CPU)
    already_free = before - psutil.Process().memory_info().rss
    held = bytearray(already_free + 200_000_000)
    del held
    assert 150_000_000 < peak_bytes(CPU) - before < 250_000_000


@pytest.mark.parametrize(("limit", "available"), [("5000\n", 3000), ("max\n", 9000), ("20000\n", 9000)])
def test_a_container_s_limit_counts_where_it_is_below_what_the_machine_has(limit, available, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=9000))
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text("2000\n")
    assert available_bytes() == available


def test_without_a_group_all_that_the_machine_has_is_available(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=9000))
    assert available_bytes() == 9000


@pytest.mark.long
def test_a_process_does_not_report_the_peak_of_the_one_that_started_it():
    """Linux's getrusage would."""
    held = bytearray(1_500_000_000)
    code = "import torch; from mixlab.measure.memory import peak_bytes; print(peak_bytes(torch.device('cpu')))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(finished.stdout) < len(held)
