"""`mixlab evaluate --save-logits`, and `mixlab evaluate FILE`."""

import json
import shutil
from pathlib import Path

import pytest


def numbers(results: dict) -> dict:
    """Everything that follows from the logits."""
    return {
        key: results[key] for key in results.keys() - {"source", "data", "baselines", "commit", "device", "execution"}
    }


def test_everything_is_recomputed_from_the_logits_without_the_model(run, trained):
    first = run("evaluate", trained, "--save-logits", "l.parquet", "--format", "json", "--quiet")
    assert (first.status, first.err) == (0, "")
    shutil.rmtree(trained)
    again = run("evaluate", "l.parquet", "--format", "json", "--quiet")
    assert again.status == 0
    assert numbers(json.loads(again.out)) == numbers(json.loads(first.out))


def test_the_report_shows_the_images_if_the_data_is_given(run, trained, pets):
    run("evaluate", trained, "--save-logits", "l.parquet", "--quiet")
    assert run("evaluate", "l.parquet", "--out", "without", "--quiet").status == 0
    assert run("evaluate", "l.parquet", "--data", "folder:pets", "--out", "with", "--quiet").status == 0
    assert "Least certain images" not in Path("without/report.html").read_text()
    assert "Least certain images" in Path("with/report.html").read_text()


def test_logits_of_other_images_are_refused(run, trained, pets):
    run("evaluate", trained, "--save-logits", "l.parquet", "--quiet")
    shutil.copytree(pets, "fewer")
    for path in Path("fewer/cat").iterdir():
        path.rename(path.with_name(f"new-{path.name}"))
    ended = run("evaluate", "l.parquet", "--data", "folder:fewer")
    assert ended.status == 2
    assert "l.parquet has logits of 4 images that folder:fewer lacks, such as cat/" in ended.err


def test_logits_with_other_labels_are_refused(run, trained, pets):
    run("evaluate", trained, "--save-logits", "l.parquet", "--quiet")
    swapped = {"cat": "dog", "dog": "cat"}
    rows = [f"{path.parent.name}/{path.name},{swapped[path.parent.name]}" for path in sorted(pets.rglob("*.png"))]
    (pets / "labels.csv").write_text("\n".join(["image,label", *rows]))
    ended = run("evaluate", "l.parquet", "--data", "csv:pets/labels.csv")
    assert ended.status == 2
    assert '.png as "dog", but l.parquet as "cat": evaluate the model again on these labels.' in ended.err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("l.csv", "--save-logits l.csv has no known format: give a file that ends in .parquet."),
        ("there.parquet", "--save-logits there.parquet already exists, and existing files are never overwritten"),
    ],
)
def test_a_file_that_cannot_be_saved_is_refused_before_the_evaluation(run, trained, name, message):
    Path("there.parquet").touch()
    ended = run("evaluate", trained, "--save-logits", name)
    assert ended.status == 2 and message in ended.err and ended.out == ""
