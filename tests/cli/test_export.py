"""`mixlab export`: from a run to an exported model that predicts and is evaluated like the run."""

import csv
import json
import shutil
from io import StringIO
from pathlib import Path

import pytest

from mixlab.export.check_images import check_images

NEEDS_DEPLOY = 'needs onnx, onnxscript and onnxruntime: pip install "mixlab[deploy]"'


def test_an_exported_run_predicts_and_is_evaluated_like_the_run(run, trained, pets, here: Path):
    pytest.importorskip("onnxscript", reason=NEEDS_DEPLOY)
    pytest.importorskip("onnxruntime", reason=NEEDS_DEPLOY)
    for folder in Path(pets).iterdir():  # one image of each class, which is too few for training
        (here / "few" / folder.name).mkdir(parents=True)
        shutil.copy(next(folder.iterdir()), here / "few" / folder.name)
    files = len(check_images()) + len(list(Path(pets).iterdir()))
    ended = run("export", trained, "out", "--check", "folder:few")
    assert (ended.status, ended.out) == (0, "out\n")
    assert f"{files} image files have the same label; probabilities differ by at most" in ended.err
    original, exported = (run("predict", source, pets, "--format", "csv", "--quiet") for source in (trained, "out"))
    for one, other in zip(*(csv.DictReader(StringIO(each.out)) for each in (original, exported)), strict=True):
        assert (other["image"], other["label"]) == (one["image"], one["label"])
        assert float(other["probability"]) == pytest.approx(float(one["probability"]), abs=1e-5)
    compared = run("evaluate", "out", "--data", f"folder:{pets}", "--against", trained, "--out", "page", "--quiet")
    assert compared.status == 0, compared.err
    (comparison,) = json.loads(Path("page/results.json").read_text(encoding="utf-8"))["against"]
    assert comparison["difference"]["difference"] == 0


def test_an_existing_folder_is_never_overwritten(refused, here: Path):
    (here / "out").mkdir()
    assert refused("export", "mixer_nano", "out") == "out already exists and is never overwritten: give another name."


def test_a_size_without_weights_is_refused(refused):
    assert '"mixer_nano" is a size without published weights' in refused("export", "mixer_nano", "out")


def test_images_to_check_without_files_are_refused(refused, trained):
    message = refused("export", trained, "out", "--check", "digits")
    assert message.endswith("is not a file: give --check images in files, for example folder:PATH.")


def test_a_precision_that_the_format_can_not_have_is_refused(refused):
    message = refused("export", "mixer_nano", "out", "--to", "torch", "--precision", "fp16")
    assert message.startswith("--precision fp16 is not possible with --to torch, because")
    message = refused("export", "mixer_nano", "out", "--to", "web", "--precision", "int8")
    assert message == "--precision int8 is not possible with --to web: a page runs in fp32."


def test_data_for_int8_without_int8_are_refused(refused):
    message = refused("export", "mixer_nano", "out", "--data", "digits")
    assert message == "--data has no effect without --precision int8: leave one of them out."


def test_int8_of_weights_without_data_is_refused(refused, trained, here: Path):
    pytest.importorskip("onnxscript", reason=NEEDS_DEPLOY)
    pytest.importorskip("onnxruntime", reason=NEEDS_DEPLOY)
    message = refused("export", trained / "model.safetensors", "out", "--precision", "int8")
    assert "int8 needs training images to calibrate" in message and "give them with --data" in message
