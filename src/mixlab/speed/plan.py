"""How a training runs on this machine: decided by a short trial before step 0, and kept for the whole run."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from statistics import median
from typing import Any, Literal

import torch
from torch import nn

from mixlab.errors import UserError
from mixlab.measure.timing import interleaved

Precision = Literal["fp32", "bf16", "fp16"]
Layout = Literal["contiguous", "channels_last"]
FreedMemory = Literal["released", "retained"]

_MIN_GAIN = 0.95
"""Another mode must take at most this share of the stock mode's time: less is noise, and not worth a rounding."""


@dataclass(frozen=True, slots=True)
class ComputeMode:
    precision: Precision = "fp32"
    layout: Layout = "contiguous"

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.layout == "channels_last" else torch.contiguous_format

    def autocast(self, device: torch.device) -> torch.autocast:
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(device.type, dtype, enabled=self.precision != "fp32")

    def __str__(self) -> str:
        return f"{self.precision}, {self.layout.replace('_', ' ')}"


@dataclass(frozen=True, slots=True)
class Plan:
    device: str
    mode: ComputeMode
    micro_batch: int
    """Images that go through the model at once; a step adds up the gradients of as many as its batch needs."""
    processes: int = 1
    """That each batch is shared between; batch normalisation sees the images of one."""
    freed_memory: FreedMemory = "released"
    """Whether the process gives back to the system what a step frees (see allocator.py)."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "micro_batch": self.micro_batch,
            "processes": self.processes,
            "freed_memory": self.freed_memory,
        } | asdict(self.mode)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Plan":
        mode = ComputeMode(stored["precision"], stored["layout"])
        others = {name: stored[name] for name in ("processes", "freed_memory") if name in stored}
        return cls(stored["device"], mode, stored["micro_batch"], **others)


def prepare_model(model: nn.Module, device: torch.device, mode: ComputeMode) -> nn.Module:
    """`model` on the device, its kernels laid out as the mode wants them."""
    return model.to(device=device).to(memory_format=mode.memory_format)  # pyright: ignore[reportCallIssue]


def candidates(device: torch.device, precision: Precision | Literal["auto"]) -> list[ComputeMode]:
    """The modes worth trying, the stock one first. On Apple's MPS only fp32 is tested, so only that is tried."""
    if precision == "fp16" and device.type == "cpu":
        raise UserError('precision="fp16" needs a GPU: on a processor give "bf16", "fp32" or "auto".')
    if precision == "auto":
        precisions: tuple[Precision, ...] = ("fp32",) if device.type == "mps" else ("fp32", "bf16")
    else:
        precisions = (precision,)
    layouts: tuple[Layout, ...] = ("contiguous", "channels_last")
    return [ComputeMode(precision, layout) for precision, layout in product(precisions, layouts)]


def time_modes(steps: Mapping[ComputeMode, Callable[[], object]]) -> dict[ComputeMode, float]:
    """The median seconds of a step in every mode. The modes take turns; a first call of each is not counted."""
    modes = {str(mode): mode for mode in steps}
    times = interleaved({name: steps[mode] for name, mode in modes.items()}, rounds=3, warmup=1, sample_seconds=0.0)
    return {modes[name]: median(seconds) for name, seconds in times.items()}


def pick_mode(seconds: Mapping[ComputeMode, float]) -> ComputeMode:
    """The fastest mode if it is clearly faster than the first one, the stock mode; else the first one."""
    stock, fastest = next(iter(seconds)), min(seconds, key=seconds.__getitem__)
    return fastest if seconds[fastest] <= _MIN_GAIN * seconds[stock] else stock
