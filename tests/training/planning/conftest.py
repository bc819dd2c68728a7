"""Conditions of autotuning that do not depend on the machine."""

from math import inf

import pytest

from mixlab.training.planning import autotune


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes a millisecond, so that messages about long steps don't depend on the machine."""
    monkeypatch.setattr(autotune, "seconds_per_call", lambda step: (step(), 1e-3)[1])


@pytest.fixture
def timed_at_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much time for autotuning as for a training of some minutes."""
    monkeypatch.setattr(autotune, "_SHARE", inf)
