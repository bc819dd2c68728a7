"""benchmarks/recommendation.py, which measures the error rates in docs/compare.md, with few simulations."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/recommendation.py"


@pytest.mark.long
@pytest.mark.parametrize(
    ("part", "cells", "rates"), [("recommendations", 62, ["covered", "wrong"]), ("folds", 7, ["difference_corrected"])]
)
def test_the_rates_of_all_cells_are_written(tmp_path, part, cells, rates):
    options = ["--part", part, "--simulations", "2", "--resamples", "99", "--out", tmp_path / "rates.json"]
    subprocess.run([sys.executable, SCRIPT, *options], check=True, capture_output=True)
    written = json.loads((tmp_path / "rates.json").read_text("utf-8"))["cells"]
    assert len(written) == cells
    assert all(0 <= cell[rate] <= 100 for cell in written for rate in rates)
