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
    means = {name: results["models"][name]["mean"] for name in OURS}
    assert all(results["models"][name]["n"] == 3 for name in OURS)
    assert min(means.values()) > neighbour, means
    # A Mixer's mean over three seeds is 97.5 give or take 0.5, so 97.0 is its goal (recipes' [expected]), not a fact.
    assert min(means["convmixer_nano"], means["davit_nano"]) >= 97.0, means
    assert "<svg" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
