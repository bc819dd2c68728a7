"""The peak of this process."""

import subprocess
import sys

import psutil
import pytest
import torch

from mixlab.measure.memory import peak_bytes

CPU = torch.device("cpu")


def test_the_peak_grows_by_what_was_held_for_a_while():
    before = peak_bytes(CPU)
    already_free = before - psutil.Process().memory_info().rss
    held = bytearray(already_free + 200_000_000)
    del held
    assert 150_000_000 < peak_bytes(CPU) - before < 250_000_000


@pytest.mark.long
def test_a_process_does_not_report_the_peak_of_the_one_that_started_it():
    """Linux's getrusage would."""
    held = bytearray(1_500_000_000)
    code = "import torch; from mixlab.measure.memory import peak_bytes; print(peak_bytes(torch.device('cpu')))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(finished.stdout) < len(held)
