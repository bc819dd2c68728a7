"""The C library's allocator, told to keep what a training step frees for the next step.

glibc gives each large block back to the system when it is freed; the next step gets it anew and pays for every page of
it being cleared. `benchmarks/kept_memory.py` measures what that costs a training on a processor.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's malloc.h
_LARGEST = 2**31 - 1  # bytes, that mallopt takes


def retain_freed_memory() -> None:
    """From here on the process keeps the memory it has had until it ends. Does nothing where there is no glibc."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _LARGEST)
