"""benchmarks/interval_coverage.py and benchmarks/paired_statistics.py, with few simulations and rounds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.long
@pytest.mark.parametrize(
    ("part", "cells", "rate"), [("bootstrap", 13, "macro_f1_covered"), ("closed_form", 17, "covered")]
)
def test_the_coverage_of_all_cells_is_written(tmp_path, part, cells, rate):
    options = ["--part", part, "--simulations", "2", "--resamples", "50", "--out", tmp_path / "rates.json"]
    subprocess.run([sys.executable, BENCHMARKS / "interval_coverage.py", *options], check=True, capture_output=True)
    written = json.loads((tmp_path / "rates.json").read_text("utf-8"))["cells"]
    assert len(written) == cells
    assert all(0 <= cell[rate] <= 100 for cell in written)


@pytest.mark.long
def test_the_crossed_bootstrap_takes_less_than_2_seconds(tmp_path):
    options = ["--rounds", "3", "--out", tmp_path / "times.json"]
    subprocess.run([sys.executable, BENCHMARKS / "paired_statistics.py", *options], check=True, capture_output=True)
    seconds = json.loads((tmp_path / "times.json").read_text("utf-8"))["seconds"]
    assert min(seconds["crossed bootstrap"]) < 2
