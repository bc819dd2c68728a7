"""Peak memory of this process, and available memory."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

_GROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")

_FILES = {
    "": ("memory.max", "memory.current", ("inactive_file", "active_file")),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
}
"""Of the two versions of control groups, by the controller's folder: the files with the limit and the use, and the
entries of memory.stat with the cached files, which the system frees for a process that needs memory."""


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


def reset_peak(device: torch.device) -> None:
    """Make `peak_bytes` of a CUDA device count from now on. Has no effect on a CPU, whose peak is of the process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def available_bytes() -> int:
    """Bytes still available to this process in the system and in its control groups (container, batch job).

    Linux's documentation: admin-guide/cgroup-v2 and admin-guide/cgroup-v1/memory.
    """
    return min((psutil.virtual_memory().available, *_available_in_groups()))


def _available_in_groups() -> Iterator[int]:
    """The bytes available in each control group with a limit that contains this process."""
    for line in _OWN_GROUPS.read_text().splitlines() if _OWN_GROUPS.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers not in _FILES:
            continue
        limit_file, used_file, cached = _FILES[controllers]
        group = Path(path.lstrip("/"))
        for folder in (_GROUPS / controllers / each for each in (group, *group.parents)):
            try:
                limit, used = (int((folder / name).read_text()) for name in (limit_file, used_file))
                entries = dict(each.split() for each in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # the group is outside of a container, or has no limit, which is "max"
                continue
            yield limit - used + sum(int(entries[name]) for name in cached)


def _high_water_mark() -> int:
    """Peak resident memory from /proc; getrusage on Linux also reports the peak of a parent process."""
    fields = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    (kibibytes,) = (int(field[1]) for field in fields if field[0] == "VmHWM:")
    return kibibytes * 1024
