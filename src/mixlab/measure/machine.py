"""Description of the machine and software versions that a number was measured with."""

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from mixlab.errors import UserError

_PACKAGES = (
    "mixlab",
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "birder",
    "triton",
    "accelerate",
    "captum",
    "einops",
    "numpy",
    "pillow",
    "simplejpeg",
    "scikit-learn",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "nncf",
)


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device `name`: "cpu", "cuda", "cuda:1" or "mps". Raises UserError if this machine does not have it.

    None: the fastest available type of device: CUDA, otherwise Apple's MPS, otherwise the CPU.
    """
    if name is not None:
        available = _available_devices()
        if str(name) not in available:
            raise UserError(
                f'The device "{name}" is not available: this machine has {", ".join(available)}. Give one of these.'
            )
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _available_devices() -> list[str]:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *(["cuda"] if cuda else []), *cuda, *mps]


@cache
def has_bf16_kernels() -> bool:
    """Whether oneDNN has bf16 kernels for this processor. It has none for AVX2 alone."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def device_name(device: torch.device) -> str:
    """Human-readable name of a device, such as "NVIDIA H200" or "AMD EPYC, 2 cores"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"{processor()}, GPU through MPS"
    return f"{processor()}, {usable_cores()} cores"


def processor() -> str:
    """Model name of the processor, or its architecture if the system does not report a name."""
    if platform.system() == "Darwin":
        return _command_output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    if platform.system() == "Windows":
        return platform.processor()
    fields = (line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    return next((value.strip() for key, value in fields if key.strip() == "model name"), platform.machine())


def usable_cores() -> int:
    """Number of cores that this process may use; a container or `taskset` can limit it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that a result depends on, by name."""
    version_by_package = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            version_by_package[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return version_by_package


def commit() -> str | None:
    """The commit of the checkout that mixlab runs from.

    If files of the package have changed since, "-dirty-" and 12 hexadecimal digits follow: a SHA-256 over the
    difference and over new files, so that two different changes have different names. None if mixlab is not in a
    checkout. A repository that contains the installation but does not track mixlab's files, such as a project with a
    virtual environment in it, is ignored.
    """
    folder = Path(__file__).parents[1]
    git = ("git", "-C", str(folder))
    head = _command_output(*git, "rev-parse", "HEAD")
    if head is None or not _command_output(*git, "ls-files", str(Path(__file__).relative_to(folder))):
        return None
    changes = (_command_output(*git, "diff", "HEAD", "--binary", "--", ".") or "").encode()
    untracked = _command_output(*git, "ls-files", "--others", "--exclude-standard", "-z") or ""
    for name in filter(None, untracked.split("\0")):
        changes += name.encode() + b"\0" + (folder / name).read_bytes()
    return f"{head}-dirty-{hashlib.sha256(changes).hexdigest()[:12]}" if changes else head


def describe(device: torch.device | None = None) -> dict[str, Any]:
    """Device, processor, cores, threads, memory (bytes), system, versions and commit, as a JSON-serializable dict."""
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


def _command_output(*command: str) -> str | None:
    """Standard output of a program, stripped; None if the program is missing, fails or prints nothing."""
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return finished.stdout.strip() or None
