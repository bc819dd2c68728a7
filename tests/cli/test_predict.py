"""`mixlab predict`: every image has a prediction or an error message."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mixlab.evaluation.novelty import NoveltyDetector
from mixlab.weights.load import build_with_weights, load_pretrained


def test_every_image_of_a_folder_is_predicted(run, trained, pets):
    ended = run("predict", trained, pets / "cat", "--format", "csv")
    rows = list(csv.DictReader(ended.out.splitlines()))
    assert ended.status == 0
    assert [row["image"] for row in rows] == [f"pets/cat/{number:02d}.png" for number in range(20)]
    assert {row["label"] for row in rows} <= {"cat", "dog"}
    assert all(0.5 <= float(row["probability"]) <= 1 for row in rows)


def test_the_process_keeps_freed_memory_for_the_next_batch(run, trained, monkeypatch):
    calls = []
    monkeypatch.setattr("mixlab.speed.allocator.retain_freed_memory", lambda: calls.append("retained"))
    assert run("predict", trained, "pets/cat/00.png").status == 0
    assert calls == ["retained"]


def test_files_keep_the_order_in_which_they_were_given(run, trained):
    files = ["pets/dog/03.png", "pets/cat/01.png"]
    rows = json.loads(run("predict", trained, *files, "--format", "json").out)["rows"]
    assert [row["image"] for row in rows] == files


def test_junk_files_in_a_folder_are_ignored(run, trained, pets):
    for junk in (".DS_Store", "Thumbs.db", "._00.png"):
        (pets / "cat" / junk).write_bytes(b"")
    (pets / "__MACOSX").mkdir()
    shutil.copy(pets / "cat/00.png", pets / "__MACOSX")
    ended = run("predict", trained, pets, "--format", "csv")
    assert (ended.status, len(ended.out.splitlines()), ended.err) == (0, 41, "")


def test_what_is_left_out_of_a_folder_is_noted_on_standard_error(run, trained, pets):
    for name in ("notes.txt", "labels.csv", "IMG_0001"):
        (pets / "cat" / name).write_bytes(b"")
    (pets / "cat/again").symlink_to(".")
    ended = run("predict", trained, pets, "--format", "csv")
    assert (ended.status, len(ended.out.splitlines())) == (0, 41)
    assert ended.err == (
        "Skipped because their names do not end in the suffix of an image format: 3 files (cat/IMG_0001, "
        "cat/labels.csv and cat/notes.txt). To include one of them, give it as a file.\n"
        "Skipped because they lead to a file or folder that is already included: 1 link (cat/again).\n"
    )
    assert run("predict", trained, pets, "--quiet").err == ""


def test_an_image_without_a_suffix_is_predicted_if_it_is_given_as_a_file(run, trained, pets):
    shutil.copy(pets / "cat/00.png", "IMG_0001")
    ended = run("predict", trained, "IMG_0001", "--format", "csv")
    assert (ended.status, len(ended.out.splitlines()), ended.err) == (0, 2, "")


def test_a_folder_without_images_is_refused_after_its_files_are_noted(run, trained, here):
    (here / "photos").mkdir()
    (here / "photos/IMG_0001").write_bytes(b"")
    ended = run("predict", trained, "photos")
    assert (ended.status, ended.out) == (2, "")
    assert "1 file (IMG_0001)" in ended.err
    assert (
        "photos contains no images: give files, or a folder that contains images (.jpg, .png, .webp ...)." in ended.err
    )


def test_top_adds_labels_and_the_probabilities_sum_to_one(run, trained):
    (row,) = csv.DictReader(
        run("predict", trained, "pets/cat/00.png", "--top", "5", "--format", "csv").out.splitlines()
    )
    assert list(row) == ["image", "label_1", "probability_1", "label_2", "probability_2"]
    assert {row["label_1"], row["label_2"]} == {"cat", "dog"}
    assert float(row["probability_1"]) + float(row["probability_2"]) == pytest.approx(1)


def test_the_title_of_the_table_has_the_number_of_images(run, trained):
    ended = run("predict", trained, "pets/cat/00.png", "pets/cat/01.png")
    assert ended.out.startswith("2 images\n")
    assert "pets/cat/01.png" in ended.out


def test_unreadable_images_are_named_and_the_others_are_predicted(run, trained, pets):
    broken = pets / "cat" / "00.png"
    broken.write_bytes(broken.read_bytes()[:60])
    ended = run("predict", trained, pets / "cat", "nowhere.png", "--format", "csv")
    assert ended.status == 1
    assert len(ended.out.splitlines()) == 1 + 19
    first, second = ended.err.splitlines()
    assert first.startswith("mixlab: pets/cat/00.png can't be read: it is damaged or truncated")
    assert second == "mixlab: nowhere.png can't be read: no such file or directory."


@pytest.mark.skipif(os.name == "nt", reason="Windows has no names that are not Unicode")
def test_a_file_name_that_is_not_unicode_is_accepted(run, trained, pets):
    name = os.fsdecode("猫".encode("shift_jis")) + ".png"
    shutil.copy(pets / "cat/00.png", name)
    ended = run("predict", trained, name, "--format", "csv")
    assert (ended.status, len(ended.out.splitlines())) == (0, 2)


def without_timm(monkeypatch):
    """Makes every import of timm fail."""
    for module in ["timm", *(name for name in sys.modules if name.startswith("timm."))]:
        monkeypatch.setitem(sys.modules, module, None)


def test_without_timm_published_classes_are_shown_by_index_with_one_warning(
    run, pets, default_weights, monkeypatch, caplog
):
    without_timm(monkeypatch)
    ended = run("predict", "mixer_nano.test", pets, "--format", "csv")
    assert ended.status == 0
    labels = {row["label"] for row in csv.DictReader(ended.out.splitlines())}
    assert labels <= {f"class {index}" for index in range(10)}
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning == (
        "Class names need timm, which is not installed, so classes are numbered instead. To install it, run "
        '`pip install "mixlab[baselines]"`.'
    )


def test_with_timm_published_classes_have_names_and_there_is_no_warning(run, pets, default_weights, caplog):
    ended = run("predict", "mixer_nano.test", pets / "cat/00.png", "--top", "10", "--format", "csv")
    (row,) = csv.DictReader(ended.out.splitlines())
    assert ended.status == 0
    assert "tench" in row.values()
    assert not caplog.records


def test_without_timm_a_run_keeps_its_class_names(run, trained, monkeypatch, caplog):
    without_timm(monkeypatch)
    ended = run("predict", trained, "pets/cat/00.png", "--format", "csv")
    (row,) = csv.DictReader(ended.out.splitlines())
    assert row["label"] in ("cat", "dog")
    assert not caplog.records


def test_out_writes_a_file_and_says_the_number_of_rows(run, trained, pets):
    printed = run("predict", trained, pets, "--format", "csv").out
    for name in ("a.csv", "a.json", "a.jsonl"):
        ended = run("predict", trained, pets, "--out", name)
        assert (ended.status, ended.out, ended.err) == (0, "", f"40 predictions: {name}\n")
    assert Path("a.csv").read_text() == printed
    rows = json.loads(Path("a.json").read_text())["rows"]
    assert [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()] == rows
    assert len(rows) == 40 and set(rows[0]) == {"image", "label", "probability"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("old.csv", "--out old.csv already exists, and existing files are never overwritten: give a new file."),
        ("new.txt", "--out new.txt has no known format: give a file that ends in .csv, .json or .jsonl."),
        ("a/file/new.csv", "a/file/new.csv could not be written"),
    ],
)
def test_an_output_that_can_not_be_written_is_refused(refused, trained, pets, name, sentence):
    Path("a").mkdir()
    for existing in ("old.csv", "a/file"):
        Path(existing).write_text("mine")
    assert sentence in refused("predict", trained, pets, "--out", name, "--quiet")


NOTE = (
    "unlike the training images: 1 image. Do not trust the label of such an image. The rate of false alarms is at most "
    "5 % of images like the 40 validation images on average (0.6 to 13.2 % for one training). An image that is not "
    "flagged may still be of an unknown class."
)


@pytest.fixture
def flagging(trained, pets) -> Path:
    """The run with a detector that flags every image but the cat 01.png."""
    pretrained = load_pretrained(trained)
    image = pretrained.image_preprocess(np.array(Image.open(pets / "cat/01.png")))
    features = build_with_weights(pretrained.weights).embed(image[None]).numpy(force=True)
    features /= np.linalg.norm(features)
    NoveltyDetector(features.astype(np.float16), 1, 1e-3, 40).write(trained / "novelty.safetensors")
    return trained


def test_images_unlike_the_training_images_are_flagged_with_the_rate_of_false_alarms(run, flagging):
    files = ("pets/cat/01.png", "pets/dog/03.png")
    *_, first, second, note = filter(None, run("predict", flagging, *files).out.splitlines())
    assert (first.split()[-1], second.split()[-1], note) == ("no", "yes", NOTE)
    printed = json.loads(run("predict", flagging, *files, "--format", "json").out)
    assert [row["unlike_training_images"] for row in printed["rows"]] == ["no", "yes"]
    assert printed["notes"] == [NOTE]


def test_in_a_csv_file_images_are_flagged_and_the_note_is_on_standard_error(run, flagging):
    files = ("pets/cat/01.png", "pets/dog/03.png", "--top", "2")
    ended = run("predict", flagging, *files, "--format", "csv")
    rows = list(csv.DictReader(ended.out.splitlines()))
    assert [row["unlike_training_images"] for row in rows] == ["no", "yes"]
    assert list(rows[0])[-1] == "unlike_training_images"
    assert ended.err == f"{NOTE}\n"
    written = run("predict", flagging, *files, "--out", "labels.jsonl")
    assert (written.out, written.err) == ("", f"{NOTE}\n2 predictions: labels.jsonl\n")
    lines = Path("labels.jsonl").read_text().splitlines()
    assert [json.loads(line)["unlike_training_images"] for line in lines] == ["no", "yes"]
    assert run("predict", flagging, *files, "--format", "csv", "--quiet").err == ""


def test_an_unknown_device_is_refused(refused, trained, pets):
    assert 'The device "tpu" is not available: this machine has cpu' in refused(
        "predict", trained, pets, "--device", "tpu"
    )
    assert 'The device "tpu" is not available' in refused("evaluate", trained, "--device", "tpu")


def test_a_long_job_is_predicted_with_a_plan_that_is_printed_in_one_line(run, trained, pets, monkeypatch, tmp_path):
    from mixlab.speed import inference

    stock = json.loads(run("predict", trained, pets, "--format", "json", "--speed", "off").out)["rows"]
    monkeypatch.setattr(inference, "_SHORT", 0.0)
    monkeypatch.setattr("mixlab.speed.inference_timings.cache_folder", lambda: tmp_path)
    ended = run("predict", trained, pets, "--format", "json")
    rows = json.loads(ended.out)["rows"]
    assert ended.err.startswith("Inference: ") and ended.err.count("\n") == 1
    assert [row["label"] for row in rows] == [row["label"] for row in stock]
    assert np.allclose([row["probability"] for row in rows], [row["probability"] for row in stock], atol=0.05)
    assert run("predict", trained, pets, "--speed", "off").err == ""


def test_options_of_int8_and_speed_are_checked(run, trained, pets):
    ended = run("predict", trained, pets, "--data", "digits")
    assert (ended.status, ended.err) == (
        2,
        "mixlab: --data has no effect without --precision int8: leave one of them out.\n",
    )
    ended = run("predict", trained, pets, "--speed", "fast")
    assert (ended.status, ended.err) == (
        2,
        'mixlab: --speed fast is not possible: give "auto", or "off" for eager execution in fp32.\n',
    )
    ended = run("predict", trained, pets, "--precision", "int8", "--speed", "off")
    assert (ended.status, ended.err) == (
        2,
        "mixlab: --precision int8 is not possible with --speed off, which is fp32: remove one of them.\n",
    )


def test_weights_that_are_not_finite_predict_nothing(run, trained, pets):
    weights = load_file(trained / "model.safetensors")
    save_file({name: tensor * torch.nan for name, tensor in weights.items()}, trained / "model.safetensors")
    for command in (("predict", "--format", "json"), ("explain", "--out", "explained")):
        ended = run(*command[:1], trained, pets, *command[1:], "--quiet")
        assert (ended.status, ended.out) == (2, "")
        assert "are NaN or infinite, so nothing can be predicted: the weights are damaged, or the training" in ended.err
    assert not Path("explained").exists()
