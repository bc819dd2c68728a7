"""The benchmarks run as their own first lines say."""

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.long
def test_beside_timm_times_both_tasks_and_keeps_every_sample(monkeypatch, tmp_path, capsys):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    out = tmp_path / "results.json"
    command = f"beside_timm.py --models mixer_nano --rounds 3 --batch 2 --out {out}"
    monkeypatch.setattr(sys, "argv", command.split())

    runpy.run_path(str(BENCHMARKS / "beside_timm.py"), run_name="__main__")

    results = json.loads(out.read_text())["results"]
    assert [result["task"] for result in results] == ["prediction", "training"]
    assert all(len(result["our_seconds"]) == len(result["their_seconds"]) == 3 for result in results)
    assert "Speed ratio" in capsys.readouterr().out


@pytest.mark.long
def test_loading_times_three_ways_and_the_peak_of_memory(monkeypatch, tmp_path, capsys):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    out = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", f"loading.py --model mixer_s32 --rounds 3 --out {out}".split())

    runpy.run_path(str(BENCHMARKS / "loading.py"), run_name="__main__")

    results = json.loads(out.read_text())
    assert [len(samples) for samples in results["seconds"].values()] == [3] * 5
    assert all(0 < peak < 10 * results["bytes"] for peak in results["peak_bytes"])
    assert "peak of memory, times the weights" in capsys.readouterr().out
