"""`mixlab compare --data digits` from an empty store, with the default settings of the three families."""

import json
from pathlib import Path

import pytest

from mixlab.cli.main import main

OURS = ("mixer_nano", "convmixer_nano", "davit_nano")


@pytest.mark.long
def test_each_family_beats_the_nearest_neighbour_baseline_on_the_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "store"))
    with pytest.raises(SystemExit) as exit_info:
        main(["compare", "--data", "digits", "--models", ",".join(OURS), "--out", str(tmp_path / "out"), "--quiet"])
    assert exit_info.value.code in (0, None)
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    neighbour = results["baselines"]["1-nearest neighbour"]["value"]
    assert neighbour == pytest.approx(96.08, abs=0.01)
    means = {name: results["models"][name]["mean"] for name in OURS}
    assert all(results["models"][name]["n"] == 3 for name in OURS)
    assert min(means.values()) > neighbour, means
    # The mean of a Mixer over three seeds is 97.5 ± 0.5: 97.0 is the goal of its recipe, but not certain.
    assert min(means["convmixer_nano"], means["davit_nano"]) >= 97.0, means
    assert "<svg" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
