"""What autotuning has measured for a training: seconds per step, eager in every compute mode, and compiled."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from mixlab.speed.plan import ComputeMode, FreedMemory, Plan, pick_fastest
from mixlab.speed.training_rewrites import TrainingRewrites
from mixlab.training.job import Job

MIN_COMPILATIONS = 20
"""Steps are compiled only in trainings that take at least that many times as long as the compilation."""


@dataclass(frozen=True)
class Compilation:
    """Compiled steps in the compute mode and with the rewrites that are fastest in eager mode.

    compile_seconds  measured; None if the steps can't be compiled
    relative_time    of a step, compared with eager mode; None if there are no compiled steps with equal results
    """

    mode: ComputeMode
    compile_seconds: float | None = None
    relative_time: float | None = None


@dataclass(frozen=True)
class Timings:
    """The seconds per step in every compute mode, the stock mode first, with a micro-batch that fits into memory.

    rewrites     the rewrites in each mode with which a step is fastest; `seconds` has the times with these
    compilation  None if compiled steps were not tried
    complete     whether there was time for all modes and rewrites, kernels among them
    kernels      the build of the kernels that were tried, or why they were not available; None if there was no time for
                 them, or no use
    """

    micro_batch: int
    freed_memory: FreedMemory
    seconds: Mapping[ComputeMode, float]
    rewrites: Mapping[ComputeMode, TrainingRewrites] = field(default_factory=dict)
    compilation: Compilation | None = None
    complete: bool = True
    kernels: str | None = None

    def plan(self, job: Job, mode: ComputeMode, processes: int = 1) -> Plan:
        """The plan of `job` in `mode`. On a CPU, it has PyTorch's number of threads, with which steps were timed."""
        return Plan(
            job.device.type,
            mode,
            self.micro_batch,
            processes,
            self.freed_memory,
            threads=torch.get_num_threads() if job.device.type == "cpu" else None,
            rewrites=self.rewrites.get(mode, TrainingRewrites()),
        )

    def for_training(self, steps: int) -> "Timings":
        """The timings of a training of that many steps.

        Compiled steps replace the eager ones in their mode if they are faster and the training is long enough.
        """
        tried = self.compilation
        if tried is None or tried.compile_seconds is None or tried.relative_time is None:
            return replace(self, compilation=None)
        eager = self.seconds[tried.mode]
        seconds = {"eager": eager, "compiled": tried.relative_time * eager}
        if pick_fastest(seconds) == "eager" or steps * eager < MIN_COMPILATIONS * tried.compile_seconds:
            return replace(self, compilation=None)
        rewrites = compiled(self.rewrites.get(tried.mode, TrainingRewrites()))
        return replace(
            self,
            seconds={**self.seconds, tried.mode: seconds["compiled"]},
            rewrites={**self.rewrites, tried.mode: rewrites},
            compilation=None,
        )

    def to_dict(self) -> dict[str, Any]:
        """The timings as JSON-serializable values; `from_dict` is the inverse."""
        modes = [
            asdict(mode) | {"rewrites": self.rewrites.get(mode, TrainingRewrites()).to_dict(), "seconds": seconds}
            for mode, seconds in self.seconds.items()
        ]
        compilation = self.compilation and asdict(self.compilation)
        return {
            "micro_batch": self.micro_batch,
            "freed_memory": self.freed_memory,
            "modes": modes,
            "compilation": compilation,
            "complete": self.complete,
            "kernels": self.kernels,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Timings":
        """The timings from `to_dict`'s values."""
        modes = {ComputeMode(mode["precision"], mode["layout"]): mode for mode in stored["modes"]}
        compilation = stored["compilation"]
        return cls(
            stored["micro_batch"],
            stored["freed_memory"],
            {mode: timed["seconds"] for mode, timed in modes.items()},
            {mode: TrainingRewrites.from_dict(timed["rewrites"]) for mode, timed in modes.items()},
            compilation and Compilation(**compilation | {"mode": ComputeMode(**compilation["mode"])}),
            stored["complete"],
            stored["kernels"],
        )


def compiled(rewrites: TrainingRewrites) -> TrainingRewrites:
    """`rewrites`, and the steps compiled."""
    return replace(rewrites, names=(*rewrites.names, "compiled"))
