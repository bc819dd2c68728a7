"""`mixlab convert`: there, and refused where something would be lost or overwritten."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mixlab

GOLDEN = Path(__file__).parents[1] / "golden"
MIXER = GOLDEN / "google_mixer_tiny.npz"
DAVIT = GOLDEN / "msft_davit_tiny.pth.tar"


def test_what_a_format_can_hold_is_converted_and_comes_back(run):
    assert run("convert", MIXER, "mixer", "--to", "mixlab").out == "mixer\n"
    assert run("convert", "mixer", "again.npz", "--to", "google").status == 0
    with np.load(MIXER) as before, np.load("again.npz") as after:
        assert set(before.files) == set(after.files)
        assert all((before[name] == after[name]).all() for name in before.files)


def test_what_would_be_lost_is_refused_and_nothing_is_written(run, here):
    ended = run("convert", MIXER, "w.safetensors", "--to", "timm")
    assert ended.status == 2
    assert (
        "timm's format can't say gelu='tanh' (read as 'erf'); read so, the logits of 16 handwritten digits" in ended.err
    )
    assert "Give --lossy to write it without." in ended.err
    assert list(here.iterdir()) == []


def test_lossy_writes_it_all_the_same_and_says_what(run):
    ended = run("convert", MIXER, "w.safetensors", "--to", "timm", "--lossy")
    assert (ended.status, ended.out) == (0, "w.safetensors\n")
    assert "can't say gelu='tanh'" in ended.err
    images = torch.rand(1, 3, 32, 32)
    exact = mixlab.load("w.safetensors", gelu="tanh", epsilon=1e-6, image_size=32)
    torch.testing.assert_close(exact(images), mixlab.load(MIXER)(images))


def test_fields_that_a_file_does_not_say_are_set(run):
    settings = ("--set", "heads=(1, 2, 4, 8)", "--set", "window=4")
    assert run("convert", DAVIT, "davit", "--to", "mixlab", *settings).status == 0
    config: Any = mixlab.load("davit").config
    assert config.heads == (1, 2, 4, 8)


def test_size_and_classes_change_on_the_way(run):
    assert run("convert", MIXER, "large", "--to", "mixlab", "--image-size", "64", "--classes", "5").status == 0
    config: Any = mixlab.load("large").config
    assert (config.image_size, config.token_hidden, config.classes) == (64, 64, 5)


@pytest.mark.parametrize("out", ["there.npz", "folder"])
def test_what_is_there_is_never_overwritten(run, here, out):
    (here / "folder").mkdir()
    shutil.copy(MIXER, here / "there.npz")
    ended = run("convert", MIXER, out, "--to", "google")
    assert (ended.status, ended.err) == (
        2,
        f"mixlab: {out} is there already, and is never overwritten: give another name.\n",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing.npz", "w.npz", "--to", "google"), "nothing.npz"),
        (
            (DAVIT, "w.npz", "--to", "google", "--set", "heads=(1,2,4,8)"),
            "google's format holds no davit: give --to one of davit",
        ),
        ((DAVIT, "w.pth", "--to", "timm"), "Give heads=(...)"),
        ((MIXER, "w.npz", "--to", "googel"), "googel"),
        ((MIXER, "w.npz", "--to", "google", "--set", "gelu"), '"gelu" assigns nothing'),
        ((MIXER, "w.npz", "--to", "google", "--image-size", "30"), "not a multiple of patch_size=8"),
    ],
)
def test_mistakes_are_a_sentence_and_leave_nothing(run, here, arguments, words):
    ended = run("convert", *arguments)
    assert ended.status == 2
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert list(here.iterdir()) == []
