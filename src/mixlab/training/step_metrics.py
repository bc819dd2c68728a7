"""Metrics of the last few steps. They are read from the device together, because each read waits for the device."""

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
    """Collects the results of steps, and computes their mean loss, throughput and share of data loading time."""

    accelerator: Accelerator
    _results: list[tuple[int, StepResult]] = field(default_factory=list)
    _checked: int = 0
    _data_seconds: float = 0.0
    _since: float = field(default_factory=time.perf_counter)

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches, and measure the time to get each of them as data loading time."""
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
        """The time within the context does not count for throughput and data loading time."""
        started = time.perf_counter()
        yield
        self._since += time.perf_counter() - started

    def __bool__(self) -> bool:
        """Whether there are results since the last `flush`."""
        return bool(self._results)

    def add(self, step: int, result: StepResult) -> None:
        """Add the result of a step, which is counted from 1."""
        self._results.append((step, result))

    def first_non_finite(self) -> tuple[int, float, StepResult] | None:
        """(step, loss, result) of the first new step with a non-finite mean loss over all processes; else None.

        Collective: call it on every rank.
        """
        unchecked = self._results[self._checked :]
        self._checked = len(self._results)
        for (step, result), loss in zip(unchecked, self._losses(unchecked), strict=True):
            if not math.isfinite(loss):
                return step, loss, result
        return None

    def flush(self) -> dict[str, Any]:
        """The values of a journal line, and reset. Collective: call it on every rank.

        loss               mean over the steps since the last call
        learning_rate      of the last step
        gradient_norm      of the last step, over all parameters, before clipping
        images_per_second  over all processes
        data_time          fraction of the time spent waiting for data
        """
        losses, seconds = self._losses(self._results), time.perf_counter() - self._since
        images = sum(len(result.batch.labels) for _, result in self._results)
        _, last = self._results[-1]
        line = {
            "loss": sum(losses) / len(losses),
            "learning_rate": last.learning_rate,
            "gradient_norm": last.gradient_norms.norm().item(),
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
