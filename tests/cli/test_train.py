"""`mixlab train`: what it says, and where the run lies."""

import tomllib
from pathlib import Path

from mixlab.runs import journal


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
    assert "A fifth of the pictures was held out as test" in err
    assert "Device: " in err
    assert "fp32, contiguous, " in err and " ms a step of 8 pictures" in err
    assert " % of 4 validation pictures right." in err


def test_quiet_says_nothing(run, train, pets):
    assert run(*train, "--data", f"folder:{pets}", "--out", "run", "--quiet").err == ""


def test_the_weights_that_were_kept_are_said_to_have_what_the_best_epoch_had(run, train, pets, monkeypatch):
    epochs = [{"validation": {"top1": top1, "pictures": 4}} for top1 in (50.0, 100.0, 75.0)]
    lines = {"epoch": epochs, "end": [{"unreadable": {}}]}
    monkeypatch.setattr(journal, "read_journal", lambda path, kind: lines[kind])
    ended = run(*train, "--data", f"folder:{pets}")
    assert ended.err.endswith("The weights that were kept had 100.0 % of 4 validation pictures right.\n")


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
