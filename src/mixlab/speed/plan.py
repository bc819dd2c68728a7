"""How a training runs on this machine: precision, layout and micro-batch, selected before step 0 and then fixed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from math import ceil, floor
from statistics import median
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from mixlab.errors import UserError
from mixlab.measure.machine import has_bf16_kernels
from mixlab.measure.timing import interleaved
from mixlab.speed.training_rewrites import TrainingRewrites

Precision = Literal["fp32", "bf16", "fp16"]
Layout = Literal["contiguous", "channels_last"]
FreedMemory = Literal["released", "retained"]

K = TypeVar("K")

_ROUNDS = 3

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The types of the numbers that are multiplied, by precision."""

_SIMD_CHANNELS = 16
"""Channels in a block of oneDNN's convolutions with AVX-512, the largest block."""

_MAX_RELATIVE_TIME = 0.95
"""Another kind of step is selected only if it takes at most this fraction of the stock kind's time. Smaller gains are
within the noise and do not justify lower precision."""


@dataclass(frozen=True, slots=True)
class ComputeMode:
    """Numerical precision of the forward pass and memory layout of the convolution kernels."""

    precision: Precision = "fp32"
    layout: Layout = "contiguous"

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.layout == "channels_last" else torch.contiguous_format

    @property
    def dtype(self) -> torch.dtype:
        """The type of the numbers that are multiplied."""
        return DTYPES[self.precision]

    def autocast(self, device: torch.device) -> torch.autocast:
        """The autocast context of this precision; disabled for fp32."""
        return torch.autocast(device.type, self.dtype, enabled=self.precision != "fp32")

    def __str__(self) -> str:
        return mode_name(self.precision, self.layout)


def mode_name(precision: str, layout: str) -> str:
    """Such as "bf16, channels last"."""
    return f"{precision}, {layout.replace('_', ' ')}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about the execution of a training that can differ between machines. Saved as plan.json."""

    device: str
    """The type of device, such as "cpu" or "cuda"."""
    mode: ComputeMode
    micro_batch: int
    """Images per forward pass. If the batch is larger, a step accumulates the gradients of several micro-batches."""
    processes: int = 1
    """Number of processes that share each batch. Batch normalisation uses the images of its own process."""
    freed_memory: FreedMemory = "released"
    """Whether freed memory is released to the system or retained by the process (see allocator.py)."""
    concurrent: int = 1
    """Number of trainings that run on this machine at the same time."""
    threads: int | None = None
    """CPU threads of each process. On a CPU, they determine the order of its sums. None: PyTorch's default."""
    rewrites: TrainingRewrites = field(default_factory=TrainingRewrites)
    """Modules that are replaced by faster ones."""

    def micro_batches(self, images: float) -> int:
        """The number of near-equal micro-batches into which each process splits its images of a batch.

        images  the mean number of images of a process. All processes have equally many micro-batches, because sharded
                parameters are gathered for each of them
        """
        return min(ceil(ceil(images) / self.micro_batch), max(floor(images), 1))

    def images_per_pass(self, batch: int) -> int:
        """The images of the largest forward pass of a step of `batch` images, over all processes."""
        share = batch / self.processes
        return ceil(ceil(share) / self.micro_batches(share))

    @contextmanager
    def forward_context(self, device: torch.device) -> Iterator[None]:
        """The context of a forward pass of the training."""
        with self.mode.autocast(device), self.rewrites.forward_context():
            yield

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-serializable values; `from_dict` is the inverse."""
        values = asdict(self) | {"rewrites": self.rewrites.to_dict()}
        return values | values.pop("mode")

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Plan":
        """The plan from `to_dict`'s values. Fields that older plans lack get their defaults."""
        values: dict[str, Any] = {each.name: stored[each.name] for each in fields(cls) if each.name in stored}
        values["mode"] = ComputeMode(stored["precision"], stored["layout"])
        values["rewrites"] = TrainingRewrites.from_dict(stored.get("rewrites", {}))
        return cls(**values)

    def __str__(self) -> str:
        return ", ".join((str(self.mode), *self.rewrites.descriptions))


def prepare_model(model: nn.Module, device: torch.device, mode: ComputeMode) -> nn.Module:
    """Move `model` to the device and convert its kernels to the memory layout of `mode`."""
    return model.to(device=device).to(memory_format=mode.memory_format)  # pyright: ignore[reportCallIssue]


def prepare_for_training(model: nn.Module, device: torch.device, plan: Plan, batch: int) -> nn.Module:
    """`prepare_model` with the plan's mode, and with the plan's rewrites; `batch` is the number of images per step."""
    return plan.rewrites.apply(prepare_model(model, device, plan.mode), plan.images_per_pass(batch))


def candidates(device: torch.device, precision: Precision | Literal["auto"]) -> list[ComputeMode]:
    """The modes to try on a device, the stock mode first.

    `precision` is the only precision to try; "auto" tries fp32, and bf16 where it can be faster. Raises UserError for
    fp16 on a CPU.
    """
    if precision == "fp16" and device.type == "cpu":
        raise UserError('precision="fp16" needs a GPU. On a CPU, set precision to "bf16", "fp32" or "auto".')
    if precision == "auto":
        precisions: tuple[Precision, ...] = ("fp32", "bf16") if bf16_can_be_faster(device) else ("fp32",)
    else:
        precisions = (precision,)
    layouts: tuple[Layout, ...] = ("contiguous", "channels_last")
    return [ComputeMode(precision, layout) for precision, layout in product(precisions, layouts)]


def bf16_can_be_faster(device: torch.device) -> bool:
    """Whether bf16 is worth a trial on a device.

    It is not on Apple's MPS, where it is untested, or on a CPU for which oneDNN has no bf16 kernels: there, a step of a
    convolution in bf16 takes many times as long as in fp32.
    """
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        return has_bf16_kernels()
    return device.type != "mps"


def training_candidates(
    device: torch.device, precision: Precision | Literal["auto"], network: nn.Module
) -> list[ComputeMode]:
    """The `candidates` in which training steps of `network` do not write past memory."""
    modes = candidates(device, precision)
    if device.type != "cpu":
        return modes
    return [mode for mode in modes if not writes_past_memory(mode, network)]


def writes_past_memory(mode: ComputeMode, network: nn.Module) -> bool:
    """Whether training steps in `mode` on a CPU can write past allocated memory, an error of oneDNN.

    It is in the weight gradient of a strided 1x1 convolution of fewer than 16 channels, in fp32 and channels last
    (https://github.com/uxlfoundation/oneDNN/issues/6035). The process crashes, or the gradients are wrong.
    """
    return mode == ComputeMode("fp32", "channels_last") and any(
        module.kernel_size == (1, 1) and max(module.stride) > 1 and module.in_channels // module.groups < _SIMD_CHANNELS
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    )


def time_steps(
    steps: Mapping[K, Callable[[], object]], *, rounds: int = _ROUNDS, before: Callable[[K], object] = lambda kind: None
) -> dict[K, float]:
    """The median seconds of each kind of step. They take turns; the first call of each is a warm-up.

    before  called with the kind before each of its turns, untimed
    """
    kinds = {str(kind): kind for kind in steps}
    times = interleaved(
        {name: steps[kind] for name, kind in kinds.items()},
        rounds=rounds,
        warmup=1,
        sample_seconds=0.0,
        before=lambda name: before(kinds[name]),
    )
    return {kinds[name]: median(samples) for name, samples in times.items()}


def affordable(kinds: int, calls: int) -> tuple[int, int]:
    """How many of `kinds` can be timed with that many calls, at least one, and in how many rounds after the warm-up."""
    rounds = max(1, min(_ROUNDS, calls // kinds - 1))
    return max(1, min(kinds, calls // (rounds + 1))), rounds


def pick_fastest(seconds: Mapping[K, float]) -> K:
    """The fastest kind of step if it is at least 5 % faster than the first one, the stock kind; else the first."""
    stock, fastest = next(iter(seconds)), min(seconds, key=seconds.__getitem__)
    return fastest if seconds[fastest] <= _MAX_RELATIVE_TIME * seconds[stock] else stock
