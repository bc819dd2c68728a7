"""Conditions of autotuning that do not depend on the machine."""

from itertools import count
from math import inf

import pytest

from mixlab.training.planning import autotune


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which a step takes a millisecond, so that messages about long steps don't depend on the machine."""
    ticks = count(0.0, 1e-3)
    monkeypatch.setattr(autotune, "perf_counter", lambda: next(ticks))


@pytest.fixture
def timed_at_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much time for autotuning as for a training of some minutes."""
    monkeypatch.setattr(autotune, "_SHARE", inf)
