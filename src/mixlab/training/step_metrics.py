"""The last few steps, which stay on the device until they are read together, since reading waits for it."""

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
    _taken: list[tuple[int, StepResult]] = field(default_factory=list)
    _checked: int = 0
    _waited: float = 0.0  # seconds, for images
    _since: float = field(default_factory=time.perf_counter)

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, with the time that each is waited for counted."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(iterator, None)
            self._waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done meanwhile is no part of what the steps take."""
        began = time.perf_counter()
        yield
        self._since += time.perf_counter() - began

    def __bool__(self) -> bool:
        """Whether there is anything to read."""
        return bool(self._taken)

    def add(self, step: int, taken: StepResult) -> None:
        self._taken.append((step, taken))

    def first_non_finite(self) -> tuple[int, float, StepResult] | None:
        """The first new step whose loss, over all processes, is no number, and that loss; every process has to ask."""
        unchecked = self._taken[self._checked :]
        self._checked = len(self._taken)
        for (step, taken), loss in zip(unchecked, self._losses(unchecked), strict=True):
            if not math.isfinite(loss):
                return step, loss, taken
        return None

    def close(self) -> dict[str, Any]:
        """A line for the journal: the steps' mean loss, what they took, and the last one's rate and gradient."""
        losses, seconds = self._losses(self._taken), time.perf_counter() - self._since
        images = sum(len(taken.batch.labels) for _, taken in self._taken)
        _, last = self._taken[-1]
        line = {
            "loss": sum(losses) / len(losses),
            "learning_rate": last.learning_rate,
            "gradient_norm": last.norms.norm().item(),
            "images_per_second": self.accelerator.num_processes * images / seconds,
            "waiting": self._waited / seconds,
        }
        self._taken, self._checked, self._waited, self._since = [], 0, 0.0, time.perf_counter()
        return line

    def _losses(self, steps: list[tuple[int, StepResult]]) -> list[float]:
        if not steps:
            return []
        shares = torch.stack([taken.loss * taken.batch.weight for _, taken in steps])
        return self.accelerator.reduce(shares, "sum").tolist()  # pyright: ignore[reportAttributeAccessIssue]
