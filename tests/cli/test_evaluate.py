"""`mixlab evaluate`: which images are evaluated, and the output formats."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageOps

MEASURES = (
    *("top1", "balanced_accuracy", "macro_f1", "nll", "brier", "ece", "ece_mass", "ece_calibrated"),
    "majority_class",
)


@pytest.fixture
def evaluated(run, trained):
    """The JSON output of `mixlab evaluate run` with additional options."""

    def evaluated(*options: str) -> dict:
        ended = run("evaluate", trained, *options, "--quiet", "--format", "json")
        assert (ended.status, ended.err) == (0, "")
        return json.loads(ended.out)

    return evaluated


def test_without_data_the_test_split_is_evaluated(evaluated):
    results = evaluated()
    assert results["data"]["evaluated"] == "the test split that the run held out"
    assert (results["data"]["images"], results["top1"]["n"]) == (8, 8)


def test_the_process_keeps_freed_memory_for_the_next_batch(evaluated, monkeypatch):
    calls = []
    monkeypatch.setattr("mixlab.speed.allocator.retain_freed_memory", lambda: calls.append("retained"))
    evaluated()
    assert calls == ["retained"]


@pytest.mark.parametrize("name", ["folder:pets", "folder:./pets/", "folder:link"])
def test_the_training_folder_is_evaluated_on_its_test_split(evaluated, name):
    Path("link").symlink_to("pets")
    results = evaluated("--data", name)
    assert results["data"]["evaluated"] == "the test split that the run held out"
    assert results["data"]["images"] == 8


def test_all_images_of_another_folder_are_evaluated(evaluated, pets):
    for path in pets.rglob("*.png"):
        other = Path("others") / path.relative_to(pets)
        other.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.mirror(Image.open(path)).save(other)
    results = evaluated("--data", "folder:others")
    assert results["data"]["evaluated"] == "images that the run was not trained on"
    assert (results["data"]["images"], results["data"]["left_out"]) == (40, 0)


def test_copies_of_training_images_in_another_folder_are_left_out(evaluated, pets):
    shutil.copytree(pets, "others")
    Path("others/cat/00.png").rename("others/cat/another.png")
    results = evaluated("--data", "folder:others")
    assert (results["data"]["images"], results["data"]["left_out"]) == (8, 32)


def test_a_moved_training_folder_is_recognised_by_the_content_of_its_images(evaluated, pets):
    pets.rename("moved")
    results = evaluated("--data", "folder:moved")
    assert results["data"]["evaluated"] == "images that the run was not trained on"
    assert (results["data"]["images"], results["data"]["left_out"]) == (8, 32)


def test_images_added_after_the_split_are_not_evaluated_but_noted(run, trained, pets):
    shutil.copy(pets / "cat/00.png", pets / "cat/new.png")
    ended = run("evaluate", trained)
    assert "Evaluated on: the test split that the run held out, 8 images." in ended.out
    assert "Skipped because they were added after the run's split was made: 1 image." in ended.err


def test_a_run_without_its_split_is_rejected(run, trained):
    (trained / "split.json").unlink()
    status = json.loads((trained / "status.json").read_text())
    del status["bytes"]["split.json"]
    (trained / "status.json").write_text(json.dumps(status))
    ended = run("evaluate", trained)
    assert ended.status == 2
    assert "run has no split.json, so the images of folder:" in ended.err
    assert "that it held out are unknown: copy the run again" in ended.err


def test_the_table_has_every_measure_and_the_majority_class(run, trained):
    out = run("evaluate", trained).out
    for measure in ("top-1", "balanced accuracy", "macro-F1", "majority class", "precision", "recall", "F1"):
        assert measure in out
    assert "top-5" not in out  # there are only two classes


def test_top_5_is_given_for_more_than_5_classes(run, here):
    fields = ("--set", "image_size=8", "--set", "steps=1", "--set", "speed=off", "--set", "config={ depth = 1 }")
    run("train", "--data", "digits", "--model", "mixer_nano", *fields, "--quiet", "--out", "run")
    ended = run("evaluate", "run", "--format", "json")
    results = json.loads(ended.out)
    assert results["data"]["images"] == 510
    assert results["top5"]["value"] > results["top1"]["value"]


def test_the_csv_has_a_row_for_each_measure_and_for_each_measure_of_a_class(run, trained):
    rows = list(csv.DictReader(run("evaluate", trained, "--format", "csv").out.splitlines()))
    assert [(row["measure"], row["class"]) for row in rows] == [
        *((measure, "") for measure in (*MEASURES[:-1], *(f"scaled_{measure}" for measure in MEASURES[:-1]))),
        (MEASURES[-1], ""),
        *((measure, label) for label in ("cat", "dog") for measure in ("precision", "recall", "f1")),
    ]
    assert float(rows[0]["value_low"]) < float(rows[0]["value"]) or float(rows[0]["value"]) == 0


def test_the_markdown_has_every_table(run, trained):
    out = run("evaluate", trained, "--format", "markdown").out
    assert "**Every class**" in out and "| top-1" in out


def test_out_contains_the_results_and_a_report(run, trained):
    ended = run("evaluate", trained, "--out", "evaluated")
    assert ended.status == 0
    assert sorted(path.name for path in Path("evaluated").iterdir()) == ["figures", "report.html", "results.json"]
    results = json.loads(Path("evaluated/results.json").read_text())
    assert sum(images for _, _, images in results["confusion"]) == 8
    page = Path("evaluated/report.html").read_text()
    assert "Confusion matrix" in page and "Every class" in page


def test_the_report_of_a_run_without_errors_says_so(run, pets):
    fields = ("--set", "image_size=8", "--set", "epochs=15", "--set", "speed=off", "--set", "config={ depth = 1 }")
    run("train", "--data", "folder:pets", "--model", "mixer_nano", *fields, "--quiet", "--out", "run")
    ended = run("evaluate", "run", "--out", "evaluated")
    assert "100.0 [67.6, 100.0]" in ended.out  # top-1: all 8 images
    assert "Most frequent confusions" not in ended.out
    assert "0 of 8 images are wrong" in Path("evaluated/report.html").read_text()


def test_the_current_folder_is_not_replaced_by_a_report(run, trained):
    ended = run("evaluate", trained, "--out", ".", "--quiet")
    assert (ended.status, ended.out) == (2, "")
    assert "--out . is the current folder, which can't be replaced: give the name of a new folder." in ended.err
