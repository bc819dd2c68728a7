"""The machine that a number was measured on, in words and versions."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

_PACKAGES = ("mixlab", "torch", "torchvision", "timm", "accelerate", "einops", "numpy", "pillow", "scikit-learn")


def pick_device() -> torch.device:
    """The machine's fastest kind: CUDA, else Apple's MPS, else the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """In words for people, such as "NVIDIA H200" or "AMD EPYC, 2 cores"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"{processor()}, GPU through MPS"
    return f"{processor()}, {usable_cores()} cores"


def processor() -> str:
    """The maker's name for the processor; the architecture where the system does not tell it."""
    if platform.system() == "Darwin":
        return _summary("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    if platform.system() == "Windows":
        return platform.processor()
    named = (line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    return next((value.strip() for key, value in named if key.strip() == "model name"), platform.machine())


def usable_cores() -> int:
    """Those that this process may use, which a container or `taskset` may limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Python's, and those of the packages that a result depends on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the checkout that mixlab runs from, with "-dirty" where files were changed since.

    None where it was installed without one: a repository that merely surrounds the installation is not asked.
    """
    here = Path(__file__)
    if not _summary("git", "-C", str(here.parent), "ls-files", here.name):
        return None
    return _summary("git", "-C", str(here.parent), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")


def describe(device: torch.device | None = None) -> dict[str, Any]:
    """All of the above as JSON can hold it; memory in bytes."""
    device = device or pick_device()
    return {
        "device": device_name(device),
        "device_type": device.type,
        "processor": processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "versions": versions(),
        "commit": commit(),
    }


def _summary(*command: str) -> str | None:
    """What a program prints; None where it is missing or fails."""
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return finished.stdout.strip() or None
