"""The trainings below a folder, and some of them side by side."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from mixlab.errors import UserError
from mixlab.runs.folder import Run, State, start_run
from mixlab.runs.journal import Journal
from mixlab.runs.run_list import (
    DamagedRun,
    RunSummary,
    list_runs,
    read_run_summary,
    runs_below,
    runs_full_table,
    runs_table,
)
from mixlab.runs.side_by_side import RunComparison, compare_runs


def write(path: Path, *, state: State = "done", top1: float | None = 75.0, **recipe: Any) -> Run:
    """A run of one epoch out of two."""
    fields = {"model": "mixer_nano", "data": "shades", "epochs": 2, "optimizer": {"learning_rate": 0.01}} | recipe
    run = start_run(path, fields, {"precision": "fp32"}, {"device": "cpu", "versions": {"torch": "2"}}, {}, None)
    with Journal(run.journal) as journal:
        journal.write("step", step=20, images_per_second=100.0)
        validation = None if top1 is None else {"top1": top1, "images": 20}
        learned = {"loss": 0.5, "top1": 80.0}
        journal.write("epoch", step=20, epoch=1, seconds=3.0, train=learned, validation=validation)
        if state == "done":
            journal.write("end", training_seconds=4.0, images=160, peak_bytes=2**30, unreadable={})
    run.set_state(state)
    return run


def test_runs_are_found_at_any_depth_and_once_where_they_lie_in_one_another(tmp_path):
    for name in ("a", "deep/er/b", "a/checkpoints/c", ".c.part"):
        write(tmp_path / name)
    (tmp_path / "plans").mkdir()
    assert list(runs_below([tmp_path])) == [tmp_path / "a", tmp_path / "deep/er/b"]


def test_a_run_s_own_folder_is_found_as_itself(tmp_path):
    write(tmp_path / "a")
    assert list(runs_below([tmp_path / "a"])) == [tmp_path / "a"]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no folder .*nowhere: give a run's folder, or a folder that contains runs\."):
        list_runs([tmp_path / "nowhere"])


def test_a_row_says_what_a_run_is_and_what_it_has_reached(tmp_path):
    row = read_run_summary(write(tmp_path / "a").path).row
    assert (row["state"], row["model"], row["data"]) == ("done", "mixer_nano", "shades")
    assert (row["epochs"], row["planned"], row["seconds"]) == (1, 2, 4.0)
    assert (row["top1"].value, row["top1"].n) == (75.0, 20)  # pyright: ignore


def test_an_unfinished_run_is_listed_with_what_it_has(tmp_path):
    row = read_run_summary(write(tmp_path / "a", state="running", top1=None).path).row
    assert (row["state"], row["seconds"], row["top1"]) == ("running", 3.0, None)


def test_a_run_that_has_just_begun_is_listed(tmp_path):
    start_run(tmp_path / "a", {"model": "m"}, {}, {}, {}, None)
    (found,) = list_runs([tmp_path])
    assert isinstance(found, RunSummary) and found.row["epochs"] == 0


def test_the_latest_run_comes_first_and_the_damaged_last(tmp_path):
    for age, name in enumerate(("new", "old")):
        run = write(tmp_path / name)
        for file in (run.journal, run.path / "status.json"):
            os.utime(file, (1e9 - age, 1e9 - age))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "status.json").write_text("{")
    assert [one.row["run"] for one in list_runs([tmp_path])] == [str(tmp_path / name) for name in ("new", "old", "a")]


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("status.json", "{", r"status\.json is damaged"),
        ("status.json", '{"running": true}', "its status.json was not written by mixlab"),
        ("status.json", '{"format": 99, "state": "done", "bytes": {}}', "of a newer mixlab"),
        ("status.json", '{"format": 1, "state": "done"}', "does not contain the sizes of the run's files: train again"),
        ("recipe.toml", "model =", r"recipe\.toml has 7 bytes, but the run wrote"),
        ("status.json", None, r"it has no status\.json"),
        ("journal.jsonl", None, r"journal\.jsonl is missing, but the run wrote"),
    ],
)
def test_a_damaged_folder_is_named_with_its_reason_and_stops_nothing(tmp_path, file, content, reason):
    for name in ("broken", "whole"):
        write(tmp_path / name)
    path = tmp_path / "broken" / file
    path.unlink() if content is None else path.write_text(content)
    whole, damaged = list_runs([tmp_path])
    assert isinstance(whole, RunSummary) and whole.run.path == tmp_path / "whole"
    assert isinstance(damaged, DamagedRun) and damaged.path == tmp_path / "broken"
    assert re.search(reason, damaged.reason)


def test_people_read_the_reason_under_the_table_and_programs_in_the_row(tmp_path):
    damaged = DamagedRun(tmp_path, "It is broken.")
    table = runs_table([damaged], "runs")
    assert (table.rows[0]["state"], table.notes) == ("damaged", ["It is broken."])
    assert runs_full_table([damaged]).rows[0]["problem"] == "It is broken."


def test_where_there_is_none_the_way_to_one_is_said():
    assert runs_table([], "runs").notes == ["There are no runs in runs: `mixlab train` writes runs."]


@pytest.fixture
def compared(tmp_path: Path) -> RunComparison:
    """A slow and a fast learner; the second has no validation part."""
    slow = write(tmp_path / "slow", ema={"decay": 0.9}, expected={"top1": 1.0})
    fast = write(tmp_path / "fast", top1=None, optimizer={"learning_rate": 0.1})
    return compare_runs([slow.path, fast.path])


def test_only_the_keys_that_differ_are_shown(compared):
    assert compared.differing == {"optimizer.learning_rate": ["0.01", "0.1"], "ema.decay": ["0.9", "–"]}
    assert [column.title for column in compared.settings_table().columns] == ["key", "slow", "fast"]


def test_equal_runs_are_said_to_be_equal(tmp_path):
    both = [write(tmp_path / name).path for name in ("a", "b")]
    assert compare_runs(both).settings_table().notes == ["Recipe, plan, device and versions are the same."]


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
    paths = [write(tmp_path / name / "run").path for name in ("a", "b")]
    assert compare_runs(paths).names == [str(path) for path in paths]


def test_the_curves_ends_and_the_results_stand_side_by_side(compared):
    slow, fast = compared.ends_table().rows
    assert (slow["epoch"], slow["loss"], slow["training"], slow["validation"]) == (1, 0.5, 80.0, 75.0)
    assert (fast["validation"], fast.get("best_epoch")) == (None, None)
    slow, fast = compared.results_table().rows
    assert (slow["seconds"], slow["peak_gib"]) == (4.0, 1.0)
    assert (slow["images_per_second"].value, slow["top1"].value) == (100.0, 75.0)  # pyright: ignore
    assert fast["top1"] is None


def test_an_unfinished_run_can_be_compared(tmp_path):
    start_run(tmp_path / "a", {}, {}, {"device": "cpu", "versions": {}}, {}, None)
    comparison = compare_runs([tmp_path / "a", write(tmp_path / "b").path])
    assert comparison.results_table().rows[0]["state"] == "running"
    assert comparison.ends_table().rows[0] == {"run": "a"}


def test_programs_get_a_row_a_run_with_every_key_that_differs(compared):
    slow, fast = compared.full_table().rows
    assert slow["run"].endswith("/slow") and slow["best_epoch"] == 1
    assert [row["optimizer.learning_rate"] for row in (slow, fast)] == ["0.01", "0.1"]
    assert json.dumps(slow["ema.decay"]) == '"0.9"'
