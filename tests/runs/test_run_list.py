"""The list of runs in folders, and the comparison of runs."""

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
    """Write a run with one of two epochs in its journal."""
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


def test_runs_are_found_at_any_depth_but_not_inside_other_runs(tmp_path):
    for name in ("a", "deep/er/b", "a/checkpoints/c", ".c.part"):
        write(tmp_path / name)
    (tmp_path / "plans").mkdir()
    assert list(runs_below([tmp_path])) == [tmp_path / "a", tmp_path / "deep/er/b"]


def test_the_folder_of_a_run_contains_that_run(tmp_path):
    write(tmp_path / "a")
    assert list(runs_below([tmp_path / "a"])) == [tmp_path / "a"]


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no folder .*nowhere: give a run's folder, or a folder that contains runs\."):
        list_runs([tmp_path / "nowhere"])


def test_a_row_has_the_settings_and_results_of_a_run(tmp_path):
    row = read_run_summary(write(tmp_path / "a").path).row
    assert (row["state"], row["model"], row["data"]) == ("done", "mixer_nano", "shades")
    assert (row["epochs"], row["planned"], row["seconds"]) == (1, 2, 4.0)
    assert (row["top1"].value, row["top1"].n) == (75.0, 20)  # pyright: ignore


def test_an_unfinished_run_is_listed_with_its_results_so_far(tmp_path):
    row = read_run_summary(write(tmp_path / "a", state="running", top1=None).path).row
    assert (row["state"], row["seconds"], row["top1"]) == ("running", 3.0, None)


def test_a_run_that_has_just_started_is_listed(tmp_path):
    start_run(tmp_path / "a", {"model": "m"}, {}, {}, {}, None)
    (found,) = list_runs([tmp_path])
    assert isinstance(found, RunSummary) and found.row["epochs"] == 0


def test_the_latest_run_comes_first_and_damaged_runs_last(tmp_path):
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
def test_a_damaged_run_is_listed_with_the_reason(tmp_path, file, content, reason):
    for name in ("broken", "whole"):
        write(tmp_path / name)
    path = tmp_path / "broken" / file
    path.unlink() if content is None else path.write_text(content)
    whole, damaged = list_runs([tmp_path])
    assert isinstance(whole, RunSummary) and whole.run.path == tmp_path / "whole"
    assert isinstance(damaged, DamagedRun) and damaged.path == tmp_path / "broken"
    assert re.search(reason, damaged.reason)


def test_the_reason_is_a_note_of_the_table_and_a_column_of_the_full_table(tmp_path):
    damaged = DamagedRun(tmp_path, "It is broken.")
    table = runs_table([damaged], "runs")
    assert (table.rows[0]["state"], table.notes) == ("damaged", ["It is broken."])
    assert runs_full_table([damaged]).rows[0]["problem"] == "It is broken."


def test_an_empty_list_has_a_note_about_mixlab_train():
    assert runs_table([], "runs").notes == ["There are no runs in runs: `mixlab train` writes runs."]


@pytest.fixture
def compared(tmp_path: Path) -> RunComparison:
    """Two runs with different learning rates; the second has no validation split."""
    slow = write(tmp_path / "slow", ema={"decay": 0.9}, expected={"top1": 1.0})
    fast = write(tmp_path / "fast", top1=None, optimizer={"learning_rate": 0.1})
    return compare_runs([slow.path, fast.path])


def test_only_the_keys_that_differ_are_shown(compared):
    assert compared.differing == {"optimizer.learning_rate": ["0.01", "0.1"], "ema.decay": ["0.9", "–"]}
    assert [column.title for column in compared.settings_table().columns] == ["key", "slow", "fast"]


def test_equal_runs_have_a_note(tmp_path):
    both = [write(tmp_path / name).path for name in ("a", "b")]
    assert compare_runs(both).settings_table().notes == ["Recipe, plan, device and versions are the same."]


def test_runs_with_the_same_folder_name_are_named_by_their_paths(tmp_path):
    paths = [write(tmp_path / name / "run").path for name in ("a", "b")]
    assert compare_runs(paths).names == [str(path) for path in paths]


def test_the_ends_of_the_curves_and_the_results_are_compared(compared):
    slow, fast = compared.ends_table().rows
    assert (slow["epoch"], slow["loss"], slow["training"], slow["validation"]) == (1, 0.5, 80.0, 75.0)
    assert (fast["validation"], fast.get("best_epoch")) == (None, None)
    slow, fast = compared.results_table().rows
    assert (slow["seconds"], slow["peak_gib"]) == (4.0, 1.0)
    assert (slow["images_per_second"].value, slow["top1"].value) == (100.0, 75.0)  # pyright: ignore
    assert fast["top1"] is None


def test_runs_of_images_and_sounds_have_sentences_that_are_true_of_both(tmp_path):
    paths = [write(tmp_path / name, data=data).path for name, data in (("a", "shades"), ("b", "audio:tones"))]
    notes = [*runs_table(list_runs([tmp_path]), "runs").notes, *compare_runs(paths).results_table().notes]
    assert len(notes) == 2 and not any("image" in note for note in notes)
    assert "throughput (samples/s)" in [column.head for column in compare_runs(paths).results_table().columns]


def test_an_unfinished_run_can_be_compared(tmp_path):
    start_run(tmp_path / "a", {}, {}, {"device": "cpu", "versions": {}}, {}, None)
    comparison = compare_runs([tmp_path / "a", write(tmp_path / "b").path])
    assert comparison.results_table().rows[0]["state"] == "running"
    assert comparison.ends_table().rows[0] == {"run": "a"}


def test_the_full_table_has_a_row_per_run_with_every_differing_key(compared):
    slow, fast = compared.full_table().rows
    assert slow["run"].endswith("/slow") and slow["best_epoch"] == 1
    assert [row["optimizer.learning_rate"] for row in (slow, fast)] == ["0.01", "0.1"]
    assert json.dumps(slow["ema.decay"]) == '"0.9"'
