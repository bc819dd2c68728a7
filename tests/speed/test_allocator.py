"""What the process holds after a large block was freed, in a process of its own: the setting lasts until its end."""

import subprocess
import sys

import pytest

HELD = """
import sys, psutil, torch
from mixlab.speed.allocator import retain_freed_memory
if sys.argv[1] == "kept":
    retain_freed_memory()
before = psutil.Process().memory_info().rss
block = torch.ones(100_000_000, dtype=torch.uint8)
del block
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's allocator is told anything")
def test_a_freed_block_is_kept_and_else_returned():
    held = {
        freed: int(subprocess.run([sys.executable, "-c", HELD, freed], capture_output=True, check=True).stdout)
        for freed in ("kept", "returned")
    }
    assert held["kept"] > 90_000_000
    assert held["returned"] < 10_000_000
