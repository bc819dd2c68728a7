"""`mixlab train`: what it says, and where the run lies."""

import os
import signal
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mixlab.runs import journal
from mixlab.training.step import TrainStep


def recipe_of(folder: str | Path) -> dict:
    return tomllib.loads((Path(folder) / "recipe.toml").read_text())


def test_the_run_s_folder_is_the_last_line(run, train, pets):
    ended = run(*train, "--data", f"folder:{pets}", "--out", "run")
    assert (ended.status, ended.out) == (0, "run\n")


def test_without_a_folder_the_run_lies_in_the_store(run, train, pets, monkeypatch):
    assert run(*train, "--data", f"folder:{pets}", "--quiet").out.startswith("runs/mixer_nano-folder-seed0-")
    monkeypatch.setenv("MIXLAB_RUNS", "elsewhere")
    assert run(*train, "--data", f"folder:{pets}", "--quiet").out.startswith("elsewhere/mixer_nano-folder-seed0-")


def test_the_cut_the_device_the_plan_and_the_validation_are_said(run, train, pets):
    err = run(*train, "--data", f"folder:{pets}", "--out", "run").err
    assert "A fifth of the images was held out as test" in err
    assert "Device: " in err
    assert "fp32, contiguous, " in err and " ms a step of 8 images" in err
    assert " % of 4 validation images right." in err


def test_quiet_says_nothing(run, train, pets):
    assert run(*train, "--data", f"folder:{pets}", "--out", "run", "--quiet").err == ""


def test_the_weights_that_were_kept_are_said_to_have_what_the_best_epoch_had(run, train, pets, monkeypatch):
    epochs = [{"validation": {"top1": top1, "images": 4}} for top1 in (50.0, 100.0, 75.0)]
    lines = {"epoch": epochs, "end": [{"unreadable": {}}]}
    monkeypatch.setattr(journal, "read_journal", lambda path, kind: lines[kind])
    ended = run(*train, "--data", f"folder:{pets}")
    assert ended.err.endswith("The weights that were kept had 100.0 % of 4 validation images right.\n")


def test_options_overrule_the_recipe_and_settings_overrule_options(run, train, pets):
    words = (*train, "--data", f"folder:{pets}", "--quiet", "--out")
    run(*words, "a", "--seed", "3")
    run(*words, "b", "--seed", "3", "--set", "seed=4")
    assert [recipe_of(folder)["seed"] for folder in "ab"] == [3, 4]


def test_the_recipe_of_a_run_trains_the_same_weights_again(run, trained):
    assert run("train", trained / "recipe.toml", "--out", "again", "--quiet").status == 0
    assert recipe_of("again") == recipe_of(trained)
    assert Path("again/model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_another_seed_trains_other_weights(run, trained):
    run("train", trained / "recipe.toml", "--seed", "1", "--out", "again", "--quiet")
    assert Path("again/model.safetensors").read_bytes() != (trained / "model.safetensors").read_bytes()


# What was interrupted goes on


@pytest.fixture
def stopped(run, train, pets, monkeypatch) -> Path:
    """A run of three steps that a cluster has asked to stop in its second."""
    take, calls = TrainStep.__call__, []

    def asked_to_stop(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(*arguments)

    with monkeypatch.context() as cluster:
        cluster.setattr(TrainStep, "__call__", asked_to_stop)
        ended = run(*train, "--data", f"folder:{pets}", "--out", "stopped", "--quiet")
    assert ended.status == 75
    assert ended.err == (
        "mixlab: Stopped by SIGTERM after step 2 of 3, and kept: go on with mixlab train --resume stopped\n"
    )
    return Path("stopped")


def test_a_run_that_was_stopped_goes_on_to_the_weights_of_one_that_never_was(run, trained, stopped):
    ended = run("train", "--resume", stopped)
    assert (ended.status, ended.out) == (0, "stopped\n")
    assert "Going on with the run at stopped, by its plan: fp32, contiguous." in ended.err
    assert (stopped / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_the_same_command_again_goes_on_as_well(run, train, pets, stopped):
    ended = run(*train, "--data", f"folder:{pets}", "--out", stopped)
    assert (ended.status, ended.out) == (0, "stopped\n") and "Going on with" in ended.err


def test_resuming_a_finished_run_says_so(run, trained):
    ended = run("train", "--resume", trained)
    assert (ended.status, ended.out) == (0, "The run at run is finished already.\n")


def test_the_same_training_in_the_store_is_not_trained_twice(run, train, pets):
    first = run(*train, "--data", f"folder:{pets}", "--quiet")
    again = run(*train, "--data", f"folder:{pets}")
    assert again.out == first.out and "This training is already finished." in again.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--resume", "nowhere"), "There is no run at nowhere: give the folder that mixlab train printed."),
        (("--resume", "pets"), "pets is not a run's folder: it has no status.json."),
        (("--resume", "stopped", "--out", "other"), "--resume stopped goes on in that folder: leave out --out other."),
        (("--resume", "stopped", "--set", "seed=5"), "stopped was begun with another recipe: seed was 0 and is 5."),
        (("--resume", "stopped", "--set", "optimizer.name=sgd"), "optimizer.name was 'adamw' and is 'sgd'"),
        (
            ("--resume", "stopped", "--data", "digits"),
            "stopped was begun on other images: classes was ['cat', 'dog']",
        ),
    ],
)
def test_what_can_t_be_gone_on_with_is_refused(run, stopped, words, sentence):
    ended = run("train", *words, "--quiet")
    assert ended.status == 2 and sentence in ended.err and ended.err.count("\n") == 1, ended.err


def test_images_that_came_or_went_are_refused(run, stopped, pets):
    (pets / "cat" / "00.png").rename(pets / "cat" / "new.png")
    ended = run("train", "--resume", stopped)
    assert ended.status == 2 and "stopped was begun on other images: listing was" in ended.err


def test_images_that_have_moved_are_gone_on_with_once_it_is_said_where_they_lie(run, stopped, pets, trained):
    pets.rename("elsewhere")
    ended = run("train", "--resume", stopped)
    assert ended.status == 2 and ended.err.endswith("If the images have moved, say with --data where they lie now.\n")
    ended = run("train", "--resume", stopped, "--data", "folder:elsewhere")
    assert (ended.status, ended.out) == (0, "stopped\n"), ended.err
    assert (stopped / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_a_recipe_that_was_edited_by_hand_is_refused(run, stopped):
    file = stopped / "recipe.toml"
    file.write_text(file.read_text().replace("learning_rate = 0.002", "learning_rate = 0.004"))
    ended = run("train", "--resume", stopped)
    assert ended.status == 2 and "optimizer.learning_rate was 0.002 and is 0.004" in ended.err
