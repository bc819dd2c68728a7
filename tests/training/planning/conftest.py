"""A clock for autotuning."""

from itertools import count

import pytest

from mixlab.training.planning import autotune


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which a step takes a millisecond, so that messages about long steps don't depend on the machine."""
    ticks = count(0.0, 1e-3)
    monkeypatch.setattr(autotune, "perf_counter", lambda: next(ticks))
