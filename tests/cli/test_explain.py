"""`mixlab explain`: a figure for each image, a table, and the maps as data."""

import csv
import json
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

needs_captum = pytest.mark.skipif(not find_spec("captum"), reason='needs captum: pip install "mixlab[explain]"')
SMALL = ("--window", "4")


def test_every_image_has_a_figure_a_row_and_its_maps(run, trained, pets, here):
    ended = run(
        "explain", trained, pets / "cat/00.png", pets / "dog/01.png", *SMALL, "--format", "csv", "--out", "found"
    )
    assert ended.status == 0
    rows = list(csv.DictReader(ended.out.splitlines()))
    assert [row["image"] for row in rows] == ["pets/cat/00.png", "pets/dog/01.png"]
    assert sorted(path.name for path in (here / "found").iterdir()) == ["00.png", "01.png", "results.json"]
    results = json.loads((here / "found/results.json").read_text())
    assert (results["schema"], results["image_size"], results["check"]) == (1, [8, 8], [])
    for row, stored in zip(rows, results["images"], strict=True):
        (found,) = stored["maps"]
        assert np.shape(found["values"]) == (2, 2)
        assert float(row["occlusion_value"]) == np.max(found["values"])
        assert row["occlusion_box"] == " ".join(map(str, found["most_important_box"]))
        assert float(row["probability"]) == stored["probability"]
        assert float(row["covered_probability"]) == stored["covered_probability"]
        with Image.open(here / "found" / stored["figure"]) as figure:
            assert figure.width > figure.height
    assert "left, upper, right, lower in pixels" in ended.err
    assert "Figures and maps: found" in ended.err


@needs_captum
def test_both_methods_are_in_one_figure_and_the_check_has_a_table(run, trained, pets, here):
    words = ("explain", trained, pets / "cat/00.png", "--window", "3", "--method", "grad-cam,occlusion")
    ended = run(*words, "--format", "json", "--out", "found")
    (table,) = json.loads(ended.out)
    assert [column["key"] for column in table["columns"]][3:] == [
        "occlusion_box",
        "occlusion_value",
        "grad-cam_box",
        "grad-cam_value",
        "covered_probability",
    ]
    ended = run(*words[:-2], "--check", "2", "--out", "checked")
    assert "Check with randomised weights" in ended.out
    (check,) = json.loads((here / "checked/results.json").read_text())["check"]
    assert check["method"] == "occlusion"
    assert np.shape(check["rank_correlations"]) == (2, 1)


def test_images_with_the_same_name_have_figures_of_their_own(run, trained, pets, here):
    assert run("explain", trained, pets / "cat/00.png", pets / "dog/00.png", *SMALL, "--out", "found").status == 0
    figures = [image["figure"] for image in json.loads((here / "found/results.json").read_text())["images"]]
    assert figures == ["00.png", "00-1.png"]
    assert all((here / "found" / figure).is_file() for figure in figures)


def test_without_out_the_folder_is_below_runs(run, trained, pets, here):
    ended = run("explain", trained, pets / "cat/00.png", *SMALL)
    (folder,) = (here / "runs").glob("explain-run-*")
    assert f"Figures and maps: {folder.relative_to(here)}" in ended.err


def test_an_image_that_is_unreadable_is_named_and_the_others_are_explained(run, trained, pets, here):
    ended = run("explain", trained, "nowhere.png", pets / "cat/00.png", *SMALL, "--out", "found")
    assert ended.status == 1
    assert "mixlab: nowhere.png can't be read: no such file or directory." in ended.err
    assert len(json.loads((here / "found/results.json").read_text())["images"]) == 1


def test_without_a_readable_image_there_is_no_folder(refused, trained):
    assert "nowhere.png can't be read" in refused("explain", trained, "nowhere.png", *SMALL, "--out", "new/found")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--label", "cats"), 'The model has no class "cats": its classes are cat and dog. Did you mean "cat"?'),
        (("--window", "9"), "--window 9 is out of range: it must be from 1 to 8 pixels"),
        (("--method", "lime"), 'There is no method "lime": give occlusion or grad-cam, or both with a comma.'),
        (("--check", "-1"), "--check -1 is out of range: it must be at least 0."),
        (("--check", "1", "--window", "4"), "--check needs maps with 5 cells or more, and the map of occlusion has 4"),
        (("--out", "pets"), "--out pets already exists"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_no_folder(refused, trained, pets, words, sentence):
    assert sentence in refused("explain", trained, pets / "cat/00.png", *words)
