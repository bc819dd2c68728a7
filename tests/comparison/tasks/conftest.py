"""Comparisons with all trainings in this process, and with fixed times and speeds."""

from pathlib import Path
from typing import Any

import pytest

from inline import train_inline
from mixlab.comparison import compare as compare_module
from mixlab.speed.plan import ComputeMode
from mixlab.stats.intervals import median_interval
from mixlab.training import runner
from mixlab.training.planning import autotune
from mixlab.training.planning.autotune import Timings


def _fixed_speeds(models: dict[str, Any], device: object, noun: str) -> dict[str, Any]:
    return {name: (ComputeMode(), median_interval([100.0] * 9, f"{noun}s/s")) for name in models}


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "store"))
    monkeypatch.setattr(runner, "_start", train_inline)
    monkeypatch.setattr(compare_module, "images_per_second", _fixed_speeds)
    monkeypatch.setattr(autotune, "time_job", lambda *_, **__: Timings(64, "released", {ComputeMode(): 0.01}))
