"""`mixlab convert`: conversion, and refusal to lose fields or overwrite files."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mixlab
from mixlab.evaluation.novelty import NoveltyDetector, novelty_detector_of

GOLDEN = Path(__file__).parents[1] / "golden"
MIXER = GOLDEN / "google_mixer_tiny.npz"
DAVIT = GOLDEN / "msft_davit_tiny.pth.tar"


def test_conversion_and_back_restores_every_array(run):
    assert run("convert", MIXER, "mixer", "--to", "mixlab").out == "mixer\n"
    assert run("convert", "mixer", "again.npz", "--to", "google").status == 0
    with np.load(MIXER) as before, np.load("again.npz") as after:
        assert set(before.files) == set(after.files)
        assert all((before[name] == after[name]).all() for name in before.files)


def test_a_lossy_conversion_is_refused_and_nothing_is_written(run, here):
    ended = run("convert", MIXER, "w.safetensors", "--to", "timm")
    assert ended.status == 2
    assert (
        "The timm format can't store gelu='tanh' (read as 'erf'); this changes the logits of 16 handwritten digits by"
        in ended.err
    )
    assert "To write it anyway, give --lossy." in ended.err
    assert list(here.iterdir()) == []


def test_lossy_writes_the_file_with_a_warning(run):
    ended = run("convert", MIXER, "w.safetensors", "--to", "timm", "--lossy")
    assert (ended.status, ended.out) == (0, "w.safetensors\n")
    assert "can't store gelu='tanh'" in ended.err
    images = torch.rand(1, 3, 32, 32)
    exact = mixlab.load("w.safetensors", gelu="tanh", epsilon=1e-6, image_size=32)
    torch.testing.assert_close(exact(images), mixlab.load(MIXER)(images))


def test_set_gives_fields_that_are_not_in_the_file(run):
    settings = ("--set", "heads=(1, 2, 4, 8)", "--set", "window=4")
    assert run("convert", DAVIT, "davit", "--to", "mixlab", *settings).status == 0
    config: Any = mixlab.load("davit").config
    assert config.heads == (1, 2, 4, 8)


def test_image_size_and_classes_can_be_changed(run):
    assert run("convert", MIXER, "large", "--to", "mixlab", "--image-size", "64", "--classes", "5").status == 0
    config: Any = mixlab.load("large").config
    assert (config.image_size, config.token_hidden, config.classes) == (64, 64, 5)


def test_the_novelty_detector_of_a_run_is_copied_if_the_weights_are_unchanged(run, trained):
    NoveltyDetector(np.eye(8, dtype=np.float16), 1, 0.5, 40).write(trained / "novelty.safetensors")
    for out, settings in (("same", ()), ("larger", ("--image-size", "16")), ("other", ("--classes", "5"))):
        assert run("convert", trained, out, "--to", "mixlab", *settings).status == 0
    copied = novelty_detector_of("same")
    assert copied is not None and (copied.threshold, copied.validation_images) == (0.5, 40)
    assert novelty_detector_of("larger") is None and novelty_detector_of("other") is None


@pytest.mark.parametrize("out", ["existing.npz", "folder"])
def test_existing_files_are_never_overwritten(run, here, out):
    (here / "folder").mkdir()
    shutil.copy(MIXER, here / "existing.npz")
    ended = run("convert", MIXER, out, "--to", "google")
    assert (ended.status, ended.err) == (
        2,
        f"mixlab: {out} already exists and is never overwritten: give another name.\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.npz", "w.npz", "--to", "google"), "nothing.npz"),
        (
            (DAVIT, "w.npz", "--to", "google", "--set", "heads=(1,2,4,8)"),
            "The google format does not support a davit model: give --to one of davit",
        ),
        ((DAVIT, "w.pth", "--to", "timm"), "Give heads=(...)"),
        ((MIXER, "w.npz", "--to", "googel"), "googel"),
        ((MIXER, "w.npz", "--to", "google", "--set", "gelu"), '"gelu" is not an assignment'),
        ((MIXER, "w.npz", "--to", "google", "--image-size", "30"), "not a multiple of patch_size=8"),
    ],
)
def test_errors_are_one_message_and_leave_no_files(run, here, arguments, message):
    ended = run("convert", *arguments)
    assert ended.status == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert list(here.iterdir()) == []
