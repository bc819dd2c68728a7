"""`mixlab runs`: list, compare and average runs."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def two(run, train, pets) -> tuple[Path, Path]:
    """Two seeds of one recipe."""
    for seed in "01":
        words = (*train, "--data", f"folder:{pets}", "--seed", seed, "--out", f"runs/{seed}", "--quiet")
        assert run(*words).status == 0
    return Path("runs/0"), Path("runs/1")


def test_without_a_folder_the_store_is_listed(run, two):
    ended = run("runs")
    assert ended.status == 0
    assert "runs/0" in ended.out and "runs/1" in ended.out and "mixer_nano" in ended.out


def test_without_runs_the_list_is_empty(run, here, monkeypatch):
    assert "There are no runs in runs: `mixlab train` writes runs." in run("runs").out
    monkeypatch.setenv("MIXLAB_RUNS", "store")
    assert "There are no runs in store" in run("runs").out


def test_the_list_as_json_and_csv(run, two):
    rows = json.loads(run("runs", "runs", "--format", "json").out)["rows"]
    assert {row["state"] for row in rows} == {"done"}
    assert rows[0]["top1"]["n"] == 4
    assert run("runs", "--format", "csv").out.startswith("run,state,model,data,epochs,planned,top1,top1_low")


def test_a_damaged_run_is_listed_with_the_exit_status_of_a_partial_result(run, two):
    (two[0] / "journal.jsonl").unlink()
    ended = run("runs")
    assert (ended.status, ended.err) == (1, "")
    assert "runs/0 is incomplete: journal.jsonl is missing" in ended.out and "runs/1" in ended.out


def test_two_runs_are_compared(run, two):
    out = run("runs", *two).out
    assert "Different settings" in out and "seed" in out and "End of the curves" in out
    assert len(json.loads(run("runs", *two, "--format", "json").out)["rows"]) == 2


def test_a_damaged_run_can_t_be_compared(run, two):
    (two[0] / "recipe.toml").write_text("model =")
    ended = run("runs", *two)
    assert (ended.status, ended.out) == (2, "")
    assert "recipe.toml" in ended.err


@pytest.mark.parametrize("words", [("--average", "runs/0", "runs/1"), ("runs/0", "--out", "mean")])
def test_average_and_out_must_be_given_together(run, two, words):
    ended = run("runs", *words)
    assert (ended.status, ended.out) == (2, "")
    assert "--average and --out must be given together" in ended.err


def test_the_average_of_two_runs_can_predict_and_be_evaluated(run, two):
    ended = run("runs", "--average", *two, "--out", "mean")
    assert (ended.status, ended.out) == (0, "mean\n")
    assert "Validation accuracy of the average: " in ended.err and " % of 4 images." in ended.err
    assert run("predict", "mean", "pets/cat/00.png").status == 0
    assert run("evaluate", "mean", "--quiet").status == 0
    assert "mean " in run("runs", "mean").out


def test_quiet_averaging_prints_no_progress(run, two):
    assert run("runs", "--average", *two, "--out", "mean", "--quiet").err == ""


def test_an_unfinished_run_has_no_weights_to_average(run, two):
    status = json.loads((two[0] / "status.json").read_text())
    (two[0] / "status.json").write_text(json.dumps(status | {"state": "stopped"}))
    ended = run("runs", "--average", *two, "--out", "mean")
    assert ended.status == 2 and "is not finished" in ended.err
    assert not Path("mean").exists()


@pytest.mark.parametrize(("best", "warned"), [(100.1, True), (-0.1, False)])
def test_an_average_that_is_worse_than_a_run_has_a_warning(run, two, best, warned):
    journal = two[1] / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "epoch":
            line["validation"]["top1"] = best
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    status = json.loads((two[1] / "status.json").read_text())
    status["bytes"]["journal.jsonl"] = journal.stat().st_size
    (two[1] / "status.json").write_text(json.dumps(status))
    err = run("runs", "--average", two[1], two[1], "--out", "mean").err
    assert ("did not start from the same weights" in err) == warned
