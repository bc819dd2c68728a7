"""`mixlab runs`: lists, compares, averages."""

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


def test_where_nothing_was_trained_yet_the_list_is_empty(run, here, monkeypatch):
    assert "There are none below runs: `mixlab train` leaves them there." in run("runs").out
    monkeypatch.setenv("MIXLAB_RUNS", "store")
    assert "There are none below store" in run("runs").out


def test_programs_read_the_list(run, two):
    rows = json.loads(run("runs", "runs", "--format", "json").out)["rows"]
    assert {row["state"] for row in rows} == {"done"}
    assert rows[0]["top1"]["n"] == 4
    assert run("runs", "--format", "csv").out.startswith("run,state,model,data,epochs,planned,top1,top1_low")


def test_a_damaged_run_is_named_and_the_answer_is_partial(run, two):
    (two[0] / "journal.jsonl").unlink()
    ended = run("runs")
    assert (ended.status, ended.err) == (1, "")
    assert "runs/0 holds nothing of journal.jsonl" in ended.out and "runs/1" in ended.out


def test_two_runs_are_compared(run, two):
    out = run("runs", *two).out
    assert "What was set otherwise" in out and "seed" in out and "Where the curves end" in out
    assert len(json.loads(run("runs", *two, "--format", "json").out)["rows"]) == 2


def test_a_damaged_run_can_t_be_compared(run, two):
    (two[0] / "recipe.toml").write_text("model =")
    ended = run("runs", *two)
    assert (ended.status, ended.out) == (2, "")
    assert "recipe.toml" in ended.err


@pytest.mark.parametrize("words", [("--average", "runs/0", "runs/1"), ("runs/0", "--out", "mean")])
def test_average_and_out_belong_together(run, two, words):
    ended = run("runs", *words)
    assert (ended.status, ended.out) == (2, "")
    assert "--average and --out belong together" in ended.err
