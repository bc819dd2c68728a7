"""The figures of the last few steps. They stay on the device until they are read together, since reading waits for
it.
"""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from accelerate import Accelerator

from mixlab.training.step import StepResult

T = TypeVar("T")


@dataclass
class StepMetrics:
    accelerator: Accelerator
    _results: list[tuple[int, StepResult]] = field(default_factory=list)
    _checked: int = 0
    _data_seconds: float = 0.0
    _since: float = field(default_factory=time.perf_counter)

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches; the time to get each one counts as data time."""
        iterator = iter(batches)
        while True:
            started = time.perf_counter()
            batch = next(iterator, None)
            self._data_seconds += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time within the context does not count."""
        started = time.perf_counter()
        yield
        self._since += time.perf_counter() - started

    def __bool__(self) -> bool:
        """Whether there are figures that were not read."""
        return bool(self._results)

    def add(self, step: int, result: StepResult) -> None:
        self._results.append((step, result))

    def first_non_finite(self) -> tuple[int, float, StepResult] | None:
        """The first new step whose loss over all processes is not finite, and that loss. Collective."""
        unchecked = self._results[self._checked :]
        self._checked = len(self._results)
        for (step, result), loss in zip(unchecked, self._losses(unchecked), strict=True):
            if not math.isfinite(loss):
                return step, loss, result
        return None

    def flush(self) -> dict[str, Any]:
        """A line for the journal: mean loss, speed and share of data time of the steps, and the last one's learning
        rate and gradient norm. Collective.
        """
        losses, seconds = self._losses(self._results), time.perf_counter() - self._since
        images = sum(len(result.batch.labels) for _, result in self._results)
        _, last = self._results[-1]
        line = {
            "loss": sum(losses) / len(losses),
            "learning_rate": last.learning_rate,
            "gradient_norm": last.norms.norm().item(),
            "images_per_second": self.accelerator.num_processes * images / seconds,
            "data_time": self._data_seconds / seconds,
        }
        self._results, self._checked, self._data_seconds, self._since = [], 0, 0.0, time.perf_counter()
        return line

    def _losses(self, steps: list[tuple[int, StepResult]]) -> list[float]:
        if not steps:
            return []
        shares = torch.stack([result.loss * result.batch.weight for _, result in steps])
        return self.accelerator.reduce(shares, "sum").tolist()  # pyright: ignore[reportAttributeAccessIssue]
