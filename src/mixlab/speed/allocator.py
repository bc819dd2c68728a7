"""Configures the C library's allocator to keep freed memory for reuse in the next training step.

By default glibc returns each large block to the system when it is freed. The next step allocates it again, and the
system clears every page. `benchmarks/retained_memory.py` measures the cost for a training on a CPU.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's malloc.h
_LARGEST = 2**31 - 1  # bytes; the largest value that mallopt accepts


def retain_freed_memory() -> None:
    """Make this process keep freed memory until it exits. Has no effect without glibc."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _LARGEST)
