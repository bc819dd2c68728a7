"""`mixlab predict`: every image is answered or named."""

import csv
import json
import os
import shutil

import pytest


def test_a_folder_is_answered_image_by_image(run, trained, pets):
    ended = run("predict", trained, pets / "cat", "--format", "csv")
    rows = list(csv.DictReader(ended.out.splitlines()))
    assert ended.status == 0
    assert [row["image"] for row in rows] == [f"pets/cat/{number:02d}.png" for number in range(20)]
    assert {row["label"] for row in rows} <= {"cat", "dog"}
    assert all(0.5 <= float(row["probability"]) <= 1 for row in rows)


def test_files_keep_the_order_in_which_they_were_given(run, trained):
    files = ["pets/dog/03.png", "pets/cat/01.png"]
    rows = json.loads(run("predict", trained, *files, "--format", "json").out)["rows"]
    assert [row["image"] for row in rows] == files


def test_litter_in_a_folder_is_passed_over(run, trained, pets):
    for litter in (".DS_Store", "Thumbs.db", "._00.png"):
        (pets / "cat" / litter).write_bytes(b"")
    (pets / "__MACOSX").mkdir()
    shutil.copy(pets / "cat/00.png", pets / "__MACOSX")
    ended = run("predict", trained, pets, "--format", "csv")
    assert (ended.status, len(ended.out.splitlines()), ended.err) == (0, 41, "")


def test_top_adds_labels_and_their_probabilities_are_one(run, trained):
    (row,) = csv.DictReader(
        run("predict", trained, "pets/cat/00.png", "--top", "5", "--format", "csv").out.splitlines()
    )
    assert list(row) == ["image", "label_1", "probability_1", "label_2", "probability_2"]
    assert {row["label_1"], row["label_2"]} == {"cat", "dog"}
    assert float(row["probability_1"]) + float(row["probability_2"]) == pytest.approx(1)


def test_the_table_for_people_counts_the_images(run, trained):
    ended = run("predict", trained, "pets/cat/00.png", "pets/cat/01.png")
    assert ended.out.startswith("2 images\n")
    assert "pets/cat/01.png" in ended.out


def test_a_image_that_cannot_be_read_is_named_while_the_rest_is_answered(run, trained, pets):
    broken = pets / "cat" / "00.png"
    broken.write_bytes(broken.read_bytes()[:60])
    ended = run("predict", trained, pets / "cat", "nowhere.png", "--format", "csv")
    assert ended.status == 1
    assert len(ended.out.splitlines()) == 1 + 19
    first, second = ended.err.splitlines()
    assert first.startswith("mixlab: pets/cat/00.png can't be read: it is damaged or truncated")
    assert second == "mixlab: nowhere.png can't be read: no such file or directory."


@pytest.mark.skipif(os.name == "nt", reason="Windows has no names that are not Unicode")
def test_a_file_whose_name_is_no_text_is_answered(run, trained, pets):
    name = os.fsdecode("猫".encode("shift_jis")) + ".png"
    shutil.copy(pets / "cat/00.png", name)
    ended = run("predict", trained, name, "--format", "csv")
    assert (ended.status, len(ended.out.splitlines())) == (0, 2)
