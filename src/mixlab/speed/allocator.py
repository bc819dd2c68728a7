"""Makes the C library keep freed memory for the next training step or forward pass, or release it after the last one.

By default glibc returns each large block to the system when it is freed. The next step allocates it again, and the
system clears every page. `benchmarks/retained_memory.py` measures the cost for a training on a CPU. Besides trainings,
the commands `predict` and `evaluate` retain memory; in a program that imports mixlab, predictions do not.
"""

import ctypes
import gc
import sys

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's malloc.h
_LARGEST = 2**31 - 1  # bytes; the largest value that mallopt accepts


def retain_freed_memory() -> None:
    """Make this process keep freed memory until it exits. `release_freed_memory` releases what is free at that time.

    Has no effect without glibc.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _LARGEST)


def release_freed_memory() -> None:
    """Release the memory that is free now, of this process and of its CUDA device, for other processes.

    On a CPU, it has no effect without glibc.
    """
    gc.collect()
    torch.cuda.empty_cache()
    if sys.platform == "linux" and (malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        malloc_trim(0)
