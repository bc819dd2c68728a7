"""The most memory that this process has held."""

import sys
from pathlib import Path

import torch


def peak_bytes(device: torch.device) -> int:
    """Of the tensors on a CUDA device; elsewhere of the whole process, Python and libraries included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":
        return _high_water_mark()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _high_water_mark() -> int:
    """Linux's getrusage is not asked: its figure is passed on to a child from a larger parent."""
    fields = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    (kibibytes,) = (int(field[1]) for field in fields if field[0] == "VmHWM:")
    return kibibytes * 1024
