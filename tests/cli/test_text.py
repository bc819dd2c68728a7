"""`--task text` from training to predictions, and what a model for texts can't do."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.weights.load import load
from small_texts import write_texts

TINY = (
    "tokens=10",
    "features=8",
    "buckets=300",
    "channels=16",
    "token_hidden=8",
    "channel_hidden=16",
    "token_dropout=0",
)
SMALL = ("--epochs", "6", "--batch", "8", "--lr", "0.02", "--set", "speed=off", "--quiet")
TRAIN = ("train", *(word for field in TINY for word in ("--set", f"config.{field}")), *SMALL)


@pytest.fixture
def trained(run: Callable, here: Path) -> Path:
    write_texts(here / "texts.csv", 240)
    ended = run(*TRAIN, "--task", "text", "--data", "text:texts.csv", "--out", "run")
    assert ended.status == 0, ended.err
    return Path("run")


def test_a_run_stores_its_task_and_the_preprocessing_of_texts(trained: Path):
    config = Run(trained).config
    assert (config["task"], config["family"]) == ("text", "variant:text_mixer")
    assert config["preprocess"] == {"tokens": 10, "features": 8, "buckets": 300}
    assert config["classes"] == ["card", "loan", "travel"]
    assert "image_size" not in Run(trained).recipe
    history = read_history(Run(trained).journal)
    assert history.validation is not None and history.validation["top1"] > 90


def test_a_training_that_is_resumed_within_an_epoch_has_the_same_weights(run: Callable, trained: Path):
    settings = ("--set", "checkpoints.every_steps=2", "--set", "checkpoints.keep=50")
    arguments = (*TRAIN, *settings, "--task", "text", "--data", "text:texts.csv", "--out", "stopped")
    assert run(*arguments).status == 0
    stopped = Path("stopped")
    for file in (stopped / "checkpoints").glob("*.safetensors"):
        if file.stem.startswith("best") or int(file.stem.rpartition("-")[2]) > 4:
            file.unlink()
    for name in ("model.safetensors", "config.json"):
        (stopped / name).unlink()
    Run(stopped).set_state("stopped")
    assert run("train", "--resume", "stopped", "--quiet").status == 0
    tensors, expected = load(stopped).state_dict(), load(trained).state_dict()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_texts_are_evaluated_with_intervals_and_by_length(run: Callable, trained: Path):
    ended = run("evaluate", "run", "--format", "json", "--out", "evaluated")
    found = json.loads(ended.out)
    assert found["task"] == "text" and found["top1"]["low"] < found["top1"]["value"] <= 100
    assert found["data"]["cut"] == 0 and found["out_of_scope"] is None
    assert "Accuracy by length" in Path("evaluated/report.html").read_text()
    assert "top-1" in run("evaluate", "run").out


def test_other_texts_are_evaluated_and_copies_of_training_texts_are_left_out(run: Callable, trained: Path, here: Path):
    rows = write_texts(here / "new.csv", 30, seed=1).read_text() + (here / "texts.csv").read_text().splitlines()[1]
    (here / "new.csv").write_text(rows)
    found = json.loads(run("evaluate", "run", "--data", "text:new.csv", "--format", "json", "--quiet").out)
    assert (found["data"]["texts"], found["data"]["left_out"]) == (30, 1)
    assert found["data"]["evaluated"] == "texts that the run was not trained on"


def test_texts_out_of_scope_are_rejected_below_a_confidence(run: Callable, here: Path):
    rows = [line.rsplit(",", 1) for line in write_texts(here / "texts.csv", 240).read_text().splitlines()[1:]]
    outside = [[f"zebra xylophone {index}", "oos"] for index in range(40)]
    splits = {"train": rows[:160], "val": rows[160:200], "test": rows[200:]}
    splits |= {"oos_val": outside[:20], "oos_test": outside[20:]}
    Path("data.json").write_text(json.dumps(splits))
    assert run(*TRAIN, "--task", "text", "--data", "text:data.json", "--out", "run").status == 0
    rejected = json.loads(run("evaluate", "run", "--format", "json", "--quiet").out)["out_of_scope"]
    assert rejected["auroc"] > 80 and rejected["recall"]["n"] == 20 and rejected["accuracy"]["n"] == 40


def test_texts_files_and_standard_input_are_predicted(
    run: Callable, trained: Path, here: Path, monkeypatch: pytest.MonkeyPatch
):
    (here / "lines.txt").write_text("where is my hotel\n\nwhat interest is there\n")
    found = json.loads(run("predict", "run", "i lost my card", "lines.txt", "--format", "json", "--quiet").out)["rows"]
    assert [row["label"] for row in found] == ["card", "travel", "loan"]
    assert all(row["probability"] > 0.5 for row in found)
    monkeypatch.setattr("sys.stdin", io.StringIO((here / "lines.txt").read_text()))
    ended = run("predict", "run", "-", "--top", "2", "--format", "csv")
    assert ended.out.splitlines()[0] == "text,label_1,probability_1,label_2,probability_2"


def test_a_text_that_is_too_long_is_cut_and_this_is_said(run: Callable, trained: Path):
    assert "1 text longer than 10 tokens" in run("predict", "run", "my card " * 8).err


MISTAKES = {
    "no words": (("predict", "run", " "), "has no words"),
    "an image": (("predict", "run", "photo.png"), "photo.png is an image, but the model reads texts"),
    "another file": (("predict", "run", "texts.csv"), "texts.csv is a file without the suffix .txt"),
    "a file in another encoding": (("predict", "run", "latin.txt"), "latin.txt is not in utf-8: line 1"),
    "int8": (
        ("predict", "run", "hi", "--precision", "int8"),
        "--precision has no effect with a model that reads",
    ),
    "a crop": (("evaluate", "run", "--crop", "resize"), "--crop has no effect with a model that reads texts"),
    "images": (("evaluate", "run", "--data", "digits"), "has one class per image, but the task needs others"),
    "explain": (("explain", "run", "photo.png", "--out", "maps"), "is a text model, which can't"),
    "export": (("export", "run", "exported", "--to", "onnx"), "is a text model, which can't be exported"),
    "benchmark": (("benchmark", "run"), "run reads texts, but this needs a model for images"),
    "serve": (("serve", "run"), "is a text model, which can't"),
    "a probe": (
        ("train", "--model", "mixer_nano", "--task", "text", "--data", "text:texts.csv"),
        "for images, but --task text needs a model",
    ),
    "a model for texts": (
        ("train", "--model", "variant:text_mixer", "--data", "digits"),
        "has one class per image, but the task needs others",
    ),
    "augmentation": (
        ("train", "--task", "text", "--data", "text:texts.csv", "--set", "augmentation.flip=true"),
        'augmentation and task="text" can\'t be combined',
    ),
    "a study of images": (("study", "permutation", "--data", "text:texts.csv"), "has texts, but images are needed"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_what_is_not_possible_ends_in_a_sentence(
    run: Callable, trained: Path, here: Path, arguments: tuple[str, ...], message: str
):
    (here / "photo.png").write_bytes(b"\x89PNG")
    (here / "latin.txt").write_bytes(b"caf\xe9")
    ended = run(*arguments)
    assert ended.status != 0
    assert re.search(message, ended.err), ended.err


def test_the_tensors_of_a_run_are_inspected(run: Callable, trained: Path):
    ended = run("inspect", "run")
    assert ended.status == 0, ended.err
    assert "stem.embedding.weight" in ended.out and "variant:text_mixer" in ended.out


def test_an_estimate_is_in_tokens(run: Callable, here: Path):
    write_texts(here / "texts.csv", 60)
    ended = run(*TRAIN, "--task", "text", "--data", "text:texts.csv", "--dry-run")
    assert "10 x 8 tokens and features" in ended.out, ended.err
