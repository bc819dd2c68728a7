"""`--task multilabel` from training to predictions, and what such a model can't do."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.runs.folder import Run
from mixlab.runs.history import read_history

LABELS = ("red", "green", "blue")


@pytest.fixture
def shapes(here: Path) -> Path:
    """A table of 90 images with coloured squares, one for each label, and the table of another 12 in new.csv."""
    rng = np.random.default_rng(0)
    for name, images in (("shapes", 90), ("new", 12)):
        (here / name).mkdir()
        rows = [("path", "labels")]
        for index in range(images):
            pixels = rng.integers(0, 40, (8, 8, 3)).astype(np.uint8)
            labels = [label for label in LABELS if rng.random() < 0.5]
            for label in labels:
                row, column = rng.integers(0, 5, 2)
                pixels[row : row + 3, column : column + 3, LABELS.index(label)] = 220
            Image.fromarray(pixels).save(here / name / f"{index}.png")
            rows.append((f"{name}/{index}.png", "|".join(labels)))
        with (here / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return Path("shapes.csv")


@pytest.fixture
def trained(run: Callable, train: tuple[str, ...], shapes: Path) -> Path:
    assert run(*train, "--task", "multilabel", "--data", f"csv:{shapes}", "--out", "run", "--quiet").status == 0
    return Path("run")


def test_a_run_has_its_thresholds_and_the_weights_with_the_best_map(trained):
    history, config = read_history(Run(trained).journal), Run(trained).config
    assert history.validation is not None and list(history.validation) == ["mAP", "micro F1", "images"]
    assert set(history.epochs[0]["train"]) == {"loss", "micro F1"}
    assert config["classes"] == ["blue", "green", "red"]
    assert config["task"] == "multilabel" and len(config["fitted"]["thresholds"]) == 3
    recipe = Run(trained).recipe
    assert (recipe["task"], recipe["loss"]["name"], recipe["loss"]["label_smoothing"]) == ("multilabel", "sigmoid", 0)
    assert "Validation mAP" in (trained / "report.html").read_text()


def test_a_training_that_is_resumed_within_an_epoch_has_the_same_weights_metrics_and_thresholds(run, train, trained):
    settings = ("--set", "checkpoints.every_steps=2", "--task", "multilabel", "--data", "csv:shapes.csv")
    assert run(*train, *settings, "--out", "stopped", "--quiet").status == 0
    stopped = Path("stopped")
    (stopped / "checkpoints" / "step-00000003.safetensors").unlink()
    (stopped / "checkpoints" / "best.safetensors").unlink()
    (stopped / "model.safetensors").unlink()
    Run(stopped).set_state("stopped")
    assert run("train", "--resume", stopped, "--quiet").status == 0
    assert [line["step"] for line in read_history(Run(stopped).journal).resumed] == [2]
    assert (stopped / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    assert Run(stopped).config == Run(trained).config
    epochs = [read_history(Run(path).journal).epochs[0] for path in (stopped, trained)]
    assert epochs[0]["train"]["micro F1"] == epochs[1]["train"]["micro F1"]
    assert epochs[0]["validation"] == epochs[1]["validation"]


def test_evaluation_has_intervals_and_keeps_the_thresholds_of_the_run(run, trained):
    ended = run("evaluate", trained, "--format", "json", "--out", "evaluated", "--quiet")
    results = json.loads(ended.out)
    assert results == json.loads(Path("evaluated/results.json").read_text())
    for key in ("mAP", "micro_f1", "macro_f1"):
        assert results[key]["low"] <= results[key]["value"] <= results[key]["high"]
    thresholds = [label["threshold"] for label in results["labels"]]
    assert thresholds == Run(trained).config["fitted"]["thresholds"]
    assert "micro-F1" in Path("evaluated/report.html").read_text()
    assert "mAP" in run("evaluate", trained, "--quiet").out


def test_other_images_are_evaluated_and_an_unknown_label_is_refused(run, trained):
    ended = run("evaluate", trained, "--data", "csv:new.csv", "--format", "json", "--quiet")
    assert json.loads(ended.out)["data"]["images"] == 12
    table = Path("new.csv").read_text()
    Path("unknown.csv").write_text(table.replace("new/0.png,", "new/0.png,gren|"))
    ended = run("evaluate", trained, "--data", "csv:unknown.csv")
    assert ended.status == 2 and "classes that the model was not trained on: gren" in ended.err
    assert "Did you mean" in ended.err


def test_predictions_are_the_labels_above_their_thresholds(run, trained):
    table = list(csv.DictReader(run("predict", trained, "new", "--format", "csv", "--quiet").out.splitlines()))
    assert len(table) == 12 and set(table[0]) >= {"image", "labels", "probabilities"}
    thresholds = dict(zip(Run(trained).config["classes"], Run(trained).config["fitted"]["thresholds"], strict=True))
    for row in table:
        for label, probability in zip(row["labels"].split("|"), row["probabilities"].split("|"), strict=True):
            assert not label or float(probability) >= thresholds[label] - 0.001
    assert json.loads(run("predict", trained, "new", "--format", "json", "--quiet").out)


def test_the_list_of_runs_has_the_map(run, trained):
    assert "validation mAP" in run("runs", ".").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "run", "--against", "run"), "--against has no effect with a multilabel model"),
        (("predict", "run", "new", "--top", "2"), "--top 2 has no effect for a multilabel model"),
        (("predict", "run", "new", "--precision", "int8"), "which can't run in int8"),
        (("explain", "run", "new/0.png", "--out", "maps"), "which can't be explained"),
        (("export", "run", "exported", "--to", "onnx"), "which can't be exported"),
        (("publish", "run", "--out", "published"), "which can't be published"),
        (("serve", "run", "--port", "0"), "which can't be served"),
        (("runs", "--average", "run", "run", "--out", "average"), "which can't be averaged"),
        (("compare", "--data", "csv:shapes.csv"), "rename"),
    ],
)
def test_what_such_a_model_can_not_do_ends_in_a_sentence(run, trained, arguments, message):
    ended = run(*arguments)
    assert ended.status == 2 and message.lower() in ended.err.lower()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--set", "loss.name=softmax"), 'loss.name="softmax" and task="multilabel" can\'t be combined'),
        (("--set", "loss.label_smoothing=0.1"), "labels of an image are independent: remove it"),
        (("--set", "loss.class_weights=balanced"), "each label has its own threshold"),
        (("--set", "distillation.teacher=run"), '[distillation] and task="multilabel" can\'t be combined'),
        (("--set", "subset.share=0.5"), '[subset] and task="multilabel" can\'t be combined'),
        (("--task", "multilable"), 'Did you mean "multilabel"?'),
        (("--data", "digits"), "has one class per image, but the task needs others"),
    ],
)
def test_settings_that_do_not_fit_end_in_a_sentence(run, train, shapes, settings, message):
    arguments = {"--task": "multilabel", "--data": f"csv:{shapes}"}
    given = [word for name, value in arguments.items() if name not in settings for word in (name, value)]
    ended = run(*train, *given, *settings, "--out", "run", "--quiet")
    assert ended.status == 2 and message.lower() in ended.err.lower()
    assert not Path("run").exists()
