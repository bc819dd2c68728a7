"""Peak memory of this process, and available memory."""

import sys
from pathlib import Path

import psutil
import torch

_GROUP = Path("/sys/fs/cgroup")


def peak_bytes(device: torch.device) -> int:
    """Peak memory in bytes: of the tensors on a CUDA device, otherwise of the whole process including its libraries."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":
        return _high_water_mark()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def available_bytes() -> int:
    """Bytes still available to this process in the system and in its control group (container, batch job).

    Linux's documentation: admin-guide/cgroup-v2, memory.max and memory.current.
    """
    available = psutil.virtual_memory().available
    try:
        limit, used = (int((_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no control group, or no limit, which the file states as "max"
        return available
    return min(limit - used, available)


def _high_water_mark() -> int:
    """Peak resident memory from /proc; getrusage on Linux also reports the peak of a parent process."""
    fields = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    (kibibytes,) = (int(field[1]) for field in fields if field[0] == "VmHWM:")
    return kibibytes * 1024
