"""benchmarks/interval_coverage.py and benchmarks/paired_statistics.py, with few simulations and rounds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.long
def test_the_coverage_of_all_cells_is_written(tmp_path):
    options = ["--simulations", "2", "--out", tmp_path / "rates.json"]
    subprocess.run([sys.executable, BENCHMARKS / "interval_coverage.py", *options], check=True, capture_output=True)
    written = json.loads((tmp_path / "rates.json").read_text("utf-8"))
    assert len(written["macro"]) == 13 and len(written["medians"]) == 4
    assert all(0 <= cell["macro_f1_covered"] <= 100 for cell in written["macro"])


@pytest.mark.long
def test_the_times_of_all_methods_are_written(tmp_path):
    options = ["--rounds", "1", "--out", tmp_path / "times.json"]
    subprocess.run([sys.executable, BENCHMARKS / "paired_statistics.py", *options], check=True, capture_output=True)
    seconds = json.loads((tmp_path / "times.json").read_text("utf-8"))["seconds"]
    assert all(time > 0 for times in seconds.values() for time in times)
