"""`mixlab evaluate`: which images are judged, and how the judgement is written."""

import csv
import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def evaluated(run, trained):
    """The results of `mixlab evaluate run` with more options."""

    def evaluated(*options: str) -> dict:
        ended = run("evaluate", trained, *options, "--quiet", "--format", "json")
        assert (ended.status, ended.err) == (0, "")
        return json.loads(ended.out)

    return evaluated


def test_without_data_the_held_out_part_is_evaluated(evaluated):
    results = evaluated()
    assert results["data"]["judged"] == "the test part that the run held out"
    assert (results["data"]["images"], results["top1"]["n"]) == (8, 8)


@pytest.mark.parametrize("name", ["folder:pets", "folder:./pets/", "folder:link"])
def test_naming_the_folder_it_was_trained_on_evaluates_the_held_out_part(evaluated, name):
    Path("link").symlink_to("pets")
    results = evaluated("--data", name)
    assert results["data"]["judged"] == "the test part that the run held out"
    assert results["data"]["images"] == 8


def test_a_folder_that_the_run_never_saw_is_evaluated_whole(evaluated, pets):
    shutil.copytree(pets, "others")
    Path("others/cat/00.png").rename("others/cat/another.png")
    results = evaluated("--data", "folder:others")
    assert results["data"]["judged"] == "images that the run never saw"
    assert results["data"]["images"] == 40


def test_a_folder_that_was_moved_is_still_the_one_it_was_trained_on(evaluated, pets):
    pets.rename("moved")
    results = evaluated("--data", "folder:moved")
    assert results["data"]["judged"].startswith("the test part that the run held out, since all that it was trained on")
    assert results["data"]["images"] == 8


def test_images_that_came_later_are_not_evaluated_and_the_notes_say_so(run, trained, pets):
    shutil.copy(pets / "cat/00.png", pets / "cat/new.png")
    ended = run("evaluate", trained)
    assert "Judged: the test part that the run held out, 8 images." in ended.out
    assert "Skipped because they were added after the run's split was made: 1 image." in ended.err


def test_a_run_that_lost_its_split_is_not_evaluated_on_a_new_one(run, trained):
    (trained / "split.json").unlink()
    status = json.loads((trained / "status.json").read_text())
    del status["bytes"]["split.json"]
    (trained / "status.json").write_text(json.dumps(status))
    ended = run("evaluate", trained)
    assert ended.status == 2
    assert "run has no split.json, which says what it held out of folder:" in ended.err


def test_the_table_holds_every_measure_beside_the_majority_class(run, trained):
    out = run("evaluate", trained).out
    for measure in ("top-1", "balanced accuracy", "macro-F1", "majority class", "precision", "recall", "F1"):
        assert measure in out
    assert "top-5" not in out  # of two classes


def test_top_5_is_given_where_there_are_more_than_5_classes(run, here):
    fields = ("--set", "image_size=8", "--set", "steps=1", "--set", "speed=off", "--set", "config={ depth = 1 }")
    run("train", "--data", "digits", "--model", "mixer_nano", *fields, "--quiet", "--out", "run")
    ended = run("evaluate", "run", "--format", "json")
    results = json.loads(ended.out)
    assert results["data"]["images"] == 510
    assert results["top5"]["value"] > results["top1"]["value"]


def test_a_csv_has_a_row_for_each_measure_and_for_each_of_a_class(run, trained):
    rows = list(csv.DictReader(run("evaluate", trained, "--format", "csv").out.splitlines()))
    assert [(row["measure"], row["class"]) for row in rows] == [
        *((measure, "") for measure in ("top1", "balanced_accuracy", "macro_f1", "majority_class")),
        *((measure, label) for label in ("cat", "dog") for measure in ("precision", "recall", "f1")),
    ]
    assert float(rows[0]["value_low"]) < float(rows[0]["value"]) or float(rows[0]["value"]) == 0


def test_a_markdown_has_every_table(run, trained):
    out = run("evaluate", trained, "--format", "markdown").out
    assert "**Every class**" in out and "| top-1" in out


def test_out_holds_the_results_and_a_report_with_the_whole_matrix(run, trained):
    ended = run("evaluate", trained, "--out", "judged")
    assert ended.status == 0
    assert sorted(path.name for path in Path("judged").iterdir()) == ["report.html", "results.json"]
    results = json.loads(Path("judged/results.json").read_text())
    assert sum(map(sum, results["confusion"])) == 8
    page = Path("judged/report.html").read_text()
    assert "What is taken for what" in page and "Every class" in page


def test_the_report_of_a_run_without_mistakes_says_so(run, pets):
    fields = ("--set", "image_size=8", "--set", "epochs=15", "--set", "speed=off", "--set", "config={ depth = 1 }")
    run("train", "--data", "folder:pets", "--model", "mixer_nano", *fields, "--quiet", "--out", "run")
    ended = run("evaluate", "run", "--out", "judged")
    assert "100.0 [67.6, 100.0]" in ended.out  # top-1: all of 8
    assert "Worst confusions" not in ended.out
    assert "0 of 8 images are wrong" in Path("judged/report.html").read_text()
