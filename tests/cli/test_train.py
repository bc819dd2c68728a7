"""`mixlab train`: its messages, the folder of the run, and resuming."""

import os
import re
import signal
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mixlab.evaluation.probes import features
from mixlab.runs import history
from mixlab.training.step import TrainStep


def recipe_of(folder: str | Path) -> dict:
    return tomllib.loads((Path(folder) / "recipe.toml").read_text())


def test_the_run_s_folder_is_the_last_line(run, train, pets):
    ended = run(*train, "--data", f"folder:{pets}", "--out", "run")
    assert (ended.status, ended.out) == (0, "run\n")


def test_without_out_the_run_is_in_the_store(run, train, pets, monkeypatch):
    assert run(*train, "--data", f"folder:{pets}", "--quiet").out.startswith("runs/mixer_nano-folder-seed0-")
    monkeypatch.setenv("MIXLAB_RUNS", "elsewhere")
    assert run(*train, "--data", f"folder:{pets}", "--quiet").out.startswith("elsewhere/mixer_nano-folder-seed0-")


def test_split_device_plan_and_validation_accuracy_are_printed(run, train, pets):
    err = run(*train, "--data", f"folder:{pets}", "--out", "run").err
    assert "A fifth of the images was held out as test" in err
    assert "Device: " in err
    assert "fp32, contiguous, " in err and " ms per step of 8 images" in err
    assert "Validation accuracy: " in err and " % of 4 images." in err
    assert (
        "mixlab predict will not flag images unlike the training images: that needs at least 39 validation images, and "
        "this run has 4.\n" in err
    )


def test_quiet_prints_no_progress(run, train, pets):
    assert run(*train, "--data", f"folder:{pets}", "--out", "run", "--quiet").err == ""


def test_without_a_terminal_every_epoch_is_a_line(run, train, pets):
    err = run(*train, "--data", f"folder:{pets}", "--set", "steps=8", "--out", "run").err
    first, second = (line for line in err.splitlines() if line.startswith("epoch "))
    line = r"epoch {} of 2: loss \d\.\d{{3}}, validation top-1 \d+\.\d %, [\d,]+ images/s"
    assert re.fullmatch(line.format(1) + r", about \d.* left", first)
    assert re.fullmatch(line.format(2), second)


def test_a_resumed_training_counts_the_epochs_of_the_whole_training(run, stopped):
    err = run("train", "--resume", stopped).err
    assert re.search(r"^epoch 1 of 1: loss .* images/s$", err, flags=re.MULTILINE)


def test_the_printed_accuracy_is_that_of_the_best_epoch(run, train, pets, monkeypatch):
    epochs = [{"validation": {"top1": top1, "images": 4}} for top1 in (50.0, 100.0, 75.0)]
    monkeypatch.setattr(history, "read_history", lambda path: history.History(epochs=epochs, end={"unreadable": {}}))
    ended = run(*train, "--data", f"folder:{pets}")
    assert ended.err.endswith("Validation accuracy: 100.0 % of 4 images.\n")


def test_options_set_keys_of_the_recipe(run, pets):
    settings = ("--set", "image_size=8", "--set", "speed=off", "--set", "config={channels = 8, depth = 1}")
    options = ("--seed", "3", "--epochs", "2", "--batch", "6", "--lr", "0.003", "--device", "cpu")
    words = ("train", "--model", "mixer_nano", "--data", f"folder:{pets}", "--out", "run", "--quiet")
    assert run(*words, *settings, *options).status == 0
    recipe = recipe_of("run")
    assert [recipe[key] for key in ("seed", "epochs", "batch")] == [3, 2, 6]
    assert recipe["optimizer"]["learning_rate"] == 0.003
    assert recipe["optimizer"]["weight_decay"] > 0


def test_the_recipe_of_a_run_reproduces_its_weights(run, trained):
    assert run("train", trained / "recipe.toml", "--out", "again", "--quiet").status == 0
    assert recipe_of("again") == recipe_of(trained)
    assert Path("again/model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_another_seed_trains_other_weights(run, trained):
    run("train", trained / "recipe.toml", "--seed", "1", "--out", "again", "--quiet")
    assert Path("again/model.safetensors").read_bytes() != (trained / "model.safetensors").read_bytes()


# Resuming


@pytest.fixture
def stopped(run, train, pets, monkeypatch) -> Path:
    """A run of three steps that was stopped by SIGTERM in its second step."""
    take, calls = TrainStep.__call__, []

    def terminated(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(*arguments)

    with monkeypatch.context() as cluster:
        cluster.setattr(TrainStep, "__call__", terminated)
        ended = run(*train, "--data", f"folder:{pets}", "--out", "stopped", "--quiet")
    assert ended.status == 75
    assert ended.err == (
        "mixlab: Stopped by SIGTERM after step 2 of 3. A checkpoint was written: "
        "continue with mixlab train --resume stopped\n"
    )
    return Path("stopped")


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(run, trained, stopped):
    ended = run("train", "--resume", stopped)
    assert (ended.status, ended.out) == (0, "stopped\n")
    assert "Resuming stopped with its plan: fp32, contiguous." in ended.err
    assert (stopped / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_the_same_command_resumes_too(run, train, pets, stopped):
    ended = run(*train, "--data", f"folder:{pets}", "--out", stopped)
    assert (ended.status, ended.out) == (0, "stopped\n") and "Resuming stopped with its plan" in ended.err


def test_resuming_a_finished_run_prints_a_message(run, trained):
    ended = run("train", "--resume", trained)
    assert (ended.status, ended.out) == (0, "run\n")
    assert "This training is already finished.\n" in ended.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--set", "steps=9"), "run was started with another recipe: steps was 3 and is 9. It is finished: to train "),
        (("--seed", "5"), "run was started with another recipe: seed was 0 and is 5. It is finished: to train "),
        (("--set", "stebs=9"), 'run/recipe.toml: the key "stebs" is unknown. Did you mean "steps"?'),
        (("--model", "davit_nano", "--set", "config={}"), "model was 'mixer_nano' and is 'davit_nano'"),
        (("--data", "digits"), "run was started on other images: classes was ['cat', 'dog']"),
    ],
)
def test_a_finished_run_is_not_resumed_with_other_settings(run, trained, words, sentence):
    before = {path: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    ended = run("train", "--resume", trained, *words, "--quiet")
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert sentence in ended.err
    assert {path: path.read_bytes() for path in trained.iterdir() if path.is_file()} == before


def test_the_weights_of_a_finished_run_are_trained_further_in_a_new_run(run, train, trained, pets):
    refused = run("train", "--resume", trained, "--set", "steps=9", "--quiet")
    assert refused.err.endswith("to train its weights further, start a new run with --model run.\n")
    words = ("--data", f"folder:{pets}", "--model", trained, "--set", "steps=2", "--set", "speed=off")
    assert run("train", *words, "--out", "further", "--quiet").status == 0
    initialization = recipe_of("further")["initialization"]
    assert (initialization["weights"], initialization["head"]) == (str(trained.resolve()), "keep")


def test_a_finished_linear_probe_is_not_resumed_with_other_settings(run, trained, pets, monkeypatch, here):
    monkeypatch.setattr(features, "cache_folder", lambda: here / "cache")
    Path("probe.toml").write_text(f'model = "{trained}"\ndata = "folder:{pets}"\n[linear_probe]\nridges = [0.1]\n')
    assert run("train", "probe.toml", "--out", "probe", "--quiet").status == 0
    again = run("train", "--resume", "probe", "--quiet")
    assert (again.status, again.out) == (0, "probe\n")
    ended = run("train", "--resume", "probe", "--set", "linear_probe.ridges=[1.0]", "--quiet")
    assert ended.status == 2
    assert "probe was started with another recipe: linear_probe.ridges was [0.1] and is [1.0]." in ended.err


def test_the_same_training_in_the_store_is_not_trained_twice(run, train, pets):
    first = run(*train, "--data", f"folder:{pets}", "--quiet")
    again = run(*train, "--data", f"folder:{pets}")
    assert again.out == first.out and "This training is already finished." in again.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--resume", "nowhere"), "There is no run at nowhere: give the folder that mixlab train printed."),
        (("--resume", "pets"), "pets is not a run's folder: it has no status.json."),
        (
            ("--resume", "stopped", "--out", "other"),
            "--out other has no effect with --resume, which continues in stopped: remove it.",
        ),
        (("--resume", "stopped", "--set", "seed=5"), "stopped was started with another recipe: seed was 0 and is 5."),
        (("--resume", "stopped", "--set", "optimizer.name=sgd"), "optimizer.name was 'adamw' and is 'sgd'"),
        (
            ("--resume", "stopped", "--data", "digits"),
            "stopped was started on other images: classes was ['cat', 'dog']",
        ),
    ],
)
def test_invalid_resuming_is_refused(run, stopped, words, sentence):
    ended = run("train", *words, "--quiet")
    assert ended.status == 2 and sentence in ended.err and ended.err.count("\n") == 1, ended.err


def test_added_or_removed_images_are_refused(run, stopped, pets):
    (pets / "cat" / "00.png").rename(pets / "cat" / "new.png")
    ended = run("train", "--resume", stopped)
    assert ended.status == 2 and "stopped was started on other images: listing was" in ended.err


def test_a_run_with_moved_images_is_resumed_with_data(run, stopped, pets, trained):
    pets.rename("elsewhere")
    ended = run("train", "--resume", stopped)
    assert ended.status == 2 and ended.err.endswith("If the images were moved, give their path with --data.\n")
    ended = run("train", "--resume", stopped, "--data", "folder:elsewhere")
    assert (ended.status, ended.out) == (0, "stopped\n"), ended.err
    assert (stopped / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_a_recipe_that_was_edited_by_hand_is_refused(run, stopped):
    file = stopped / "recipe.toml"
    file.write_text(file.read_text().replace("learning_rate = 0.002", "learning_rate = 0.004"))
    ended = run("train", "--resume", stopped)
    assert ended.status == 2 and "optimizer.learning_rate was 0.002 and is 0.004" in ended.err
