"""The main job as a newcomer runs it: `mixlab compare --data digits`, nothing prepared, nothing trained before."""

import json
from pathlib import Path

import pytest

from mixlab.cli.main import main

OURS = ("mixer_nano", "convmixer_nano", "davit_nano")


@pytest.mark.long
def test_each_family_reads_the_digits_better_than_their_nearest_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "store"))
    with pytest.raises(SystemExit) as ended:
        main(["compare", "--data", "digits", "--out", str(tmp_path / "out"), "--quiet"])
    assert ended.value.code in (0, None)
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    neighbour = results["yardsticks"]["1-nearest neighbour"]["value"]
    assert neighbour == pytest.approx(96.08, abs=0.01)
    for name in OURS:
        model = results["models"][name]
        assert model["n"] == 3
        assert model["mean"] >= 97.0, name
        assert model["mean"] > neighbour, name
    assert "<svg" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
