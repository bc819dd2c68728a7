"""Memory of a process after a large block was freed. Each case runs in its own process, as the setting is permanent."""

import subprocess
import sys

import pytest

MEASURE = """
import sys, psutil, torch
from mixlab.speed.allocator import release_freed_memory, retain_freed_memory
if sys.argv[1] != "returned":
    retain_freed_memory()
before = psutil.Process().memory_info().rss
block = torch.ones(100_000_000, dtype=torch.uint8)
del block
if sys.argv[1] == "released":
    release_freed_memory()
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's allocator can be configured")
def test_a_freed_block_is_returned_by_default_and_kept_until_it_is_released_if_configured():
    resident_bytes = {
        freed: int(subprocess.run([sys.executable, "-c", MEASURE, freed], capture_output=True, check=True).stdout)
        for freed in ("returned", "retained", "released")
    }
    assert resident_bytes["retained"] > 90_000_000
    assert resident_bytes["returned"] < 10_000_000
    assert resident_bytes["released"] < 10_000_000
