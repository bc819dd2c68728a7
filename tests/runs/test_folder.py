"""Run folders: their state and files, and an error in one sentence for each kind of damage."""

import json
from pathlib import Path

import pytest

from mixlab.errors import UserError
from mixlab.runs.folder import FORMAT, Run, open_run, require_free_folder, start_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The folder of a finished run, with a placeholder for the weights."""
    run = start_run(tmp_path / "run", {"model": "m"}, {"device": "cpu"}, {"cores": 2}, {}, None)
    run.weights.write_bytes(b"weights")
    (run.path / "config.json").write_text('{"family": "mixer"}')
    run.set_state("done")
    return run


def test_an_opened_run_has_everything_that_was_written(run):
    again = open_run(run.path)
    assert (again.recipe, again.plan, again.environment) == ({"model": "m"}, {"device": "cpu"}, {"cores": 2})
    assert (again.config, again.split_assignment, again.state) == ({"family": "mixer"}, None, "done")


def test_the_split_assignment_is_stored(tmp_path):
    split = {"train": ["a/1.png"], "test": ["a/2.png"]}
    assert start_run(tmp_path / "run", {}, {}, {}, {}, split).split_assignment == split


def test_a_new_run_is_running_until_its_state_is_set(tmp_path):
    run = start_run(tmp_path / "run", {}, {}, {}, {}, None)
    assert run.state == "running"
    run.set_state("stopped")
    assert run.state == "stopped"


@pytest.mark.parametrize(("state", "unfinished"), [("running", True), ("stopped", True), ("done", False)])
def test_a_running_or_stopped_run_is_unfinished(run, state, unfinished):
    run.set_state(state)
    assert run.is_unfinished == unfinished


def test_an_empty_folder_is_not_an_unfinished_run(tmp_path):
    assert not Run(tmp_path).is_unfinished


def test_a_failed_start_leaves_no_files(tmp_path):
    with pytest.raises(TypeError):
        start_run(tmp_path / "run", {}, {"device": object()}, {}, {}, None)
    assert list(tmp_path.iterdir()) == []


def test_a_run_can_start_in_an_empty_folder(tmp_path):
    require_free_folder(tmp_path)
    assert start_run(tmp_path, {}, {}, {}, {}, None).state == "running"


def test_a_finished_run_is_never_overwritten(run):
    with pytest.raises(UserError, match="contains a finished run, which is never overwritten: remove it, or give"):
        start_run(run.path, {}, {}, {}, {}, None)
    assert run.weights.exists()


def test_a_folder_with_other_files_is_refused_and_not_changed(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"already exists and is not a run's folder: give a new or empty folder"):
        start_run(tmp_path, {}, {}, {}, {}, None)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_file_is_refused_as_a_folder(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UserError, match="is a file, but a run needs a new folder: give another path"):
        start_run(tmp_path / "run", {}, {}, {}, {}, None)


@pytest.mark.parametrize("status", [{"healthy": True}, {"format": 1}, [], "done"])
def test_a_status_file_of_another_program_is_not_a_run(tmp_path, status):
    (tmp_path / "status.json").write_text(json.dumps(status))
    for use in (open_run, require_free_folder):
        with pytest.raises(UserError, match=r"is not a run's folder: its status.json was not written by mixlab"):
            use(tmp_path)


def test_a_missing_folder_is_not_a_run(tmp_path):
    with pytest.raises(UserError, match=r"There is no run at .*first: give the folder that mixlab train printed"):
        open_run(tmp_path / "first")


def test_an_empty_folder_is_not_a_run(tmp_path):
    with pytest.raises(UserError, match=r"is empty, so it is not a run's folder: give the folder that mixlab train"):
        open_run(tmp_path)


def test_a_folder_with_other_files_is_not_a_run(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"is not a run's folder: it has no status\.json"):
        open_run(tmp_path)


def test_a_run_of_a_newer_format_needs_an_upgrade(run):
    (run.path / "status.json").write_text(json.dumps({"format": FORMAT + 1, "state": "done"}))
    with pytest.raises(
        UserError, match=rf"format {FORMAT + 1} of a newer mixlab, .* reads formats up to {FORMAT}: upgr"
    ):
        open_run(run.path)


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_an_unfinished_run_is_not_opened(run, state):
    run.set_state(state)
    with pytest.raises(UserError, match=rf"is not finished, its state is {state}: finish it with mixlab train --res"):
        open_run(run.path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "recipe.toml", "plan.json", "environment.json"])
def test_a_run_with_a_missing_file_is_not_opened(run, name):
    (run.path / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is missing, but the run wrote \d+ bytes\. Copy the whole folder"):
        open_run(run.path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "recipe.toml", "plan.json", "environment.json"])
def test_a_run_with_a_truncated_file_is_not_opened(run, name):
    content = (run.path / name).read_bytes()
    (run.path / name).write_bytes(content[:-1])
    with pytest.raises(UserError, match=rf"{name} has {len(content) - 1:,} bytes, .* wrote {len(content):,} bytes"):
        open_run(run.path)


def test_an_additional_file_is_ignored(run):
    (run.path / "notes.txt").write_text("good one")
    assert open_run(run.path).state == "done"


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("status.json", "state"),
        ("config.json", "config"),
        ("plan.json", "plan"),
        ("environment.json", "environment"),
        ("split.json", "split_assignment"),
        ("recipe.toml", "recipe"),
    ],
)
def test_a_truncated_file_is_named_with_the_line(run, name, attribute):
    (run.path / name).write_text('{"format"')
    with pytest.raises(UserError, match=rf"{name} is damaged \(.*line 1.*\): it was truncated or edited"):
        getattr(run, attribute)


def test_a_binary_file_is_named(run):
    (run.path / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"config\.json is damaged \(.*utf-8"):
        run.config  # noqa: B018


def test_a_missing_file_is_named(run):
    (run.path / "config.json").unlink()
    with pytest.raises(UserError, match=r"is incomplete: config\.json can't be read\. Copy the whole folder again"):
        run.config  # noqa: B018
