"""The most memory that this process has held, and what there still is."""

import sys
from pathlib import Path

import psutil
import torch

_GROUP = Path("/sys/fs/cgroup")


def peak_bytes(device: torch.device) -> int:
    """Of the tensors on a CUDA device; elsewhere of the whole process, Python and libraries included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":
        return _high_water_mark()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def available_bytes() -> int:
    """That programs could still be given, by the system or by the control group (a container, a batch job) they are in.

    Linux's documentation: admin-guide/cgroup-v2, memory.max and memory.current.
    """
    available = psutil.virtual_memory().available
    try:
        limit, taken = (int((_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # there is no group, or no limit, which is written "max"
        return available
    return min(limit - taken, available)


def _high_water_mark() -> int:
    """Linux's getrusage is not asked: its figure is passed on to a child from a larger parent."""
    fields = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    (kibibytes,) = (int(field[1]) for field in fields if field[0] == "VmHWM:")
    return kibibytes * 1024
