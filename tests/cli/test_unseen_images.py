"""Every command that prints an accuracy leaves out the images that the weights have learned from.

The images are noise with random labels, and the runs have memorised them: an accuracy above chance is a mistake.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.cli.main import main
from mixlab.evaluation.training_images import training_images_of
from mixlab.runs.folder import Run

IMAGES, TEST = 150, 30
LEARNED = IMAGES - TEST
FIELDS = "{ channels = 64, token_hidden = 32, channel_hidden = 128, depth = 2 }"
SETTINGS = (
    "image_size=8",
    "epochs=30",
    "batch=16",
    "speed=off",
    "validation=merged",
    "augmentation.flip=false",
    "augmentation.pad_crop=0",
    "optimizer.learning_rate=3e-3",
    f"config={FIELDS}",
)
OVERRIDES = [word for setting in SETTINGS for word in ("--set", setting)]


def noise(folder: Path, count: int) -> None:
    random = np.random.default_rng(0)
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for number in range(count // 2):
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((72, 72), Image.Resampling.BICUBIC).save(folder / label / f"{number}.png")


def status(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return stopped.value.code


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with noise/, with re-encoded copies of it in copies/, and with two runs that have memorised noise/."""
    folder = tmp_path_factory.mktemp("noisy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        noise(Path("noise"), IMAGES)
        for path in Path("noise").rglob("*.png"):
            copy = Path("copies") / path.parent.name / f"{path.stem}.jpg"
            copy.parent.mkdir(parents=True, exist_ok=True)
            Image.open(path).save(copy, quality=90)
        for seed in "01":
            words = ("train", "--data", "folder:noise", "--model", "mixer_nano", *OVERRIDES, "--seed", seed, "--quiet")
            assert status(*words, "--out", f"n{seed}") == 0
        yield folder


@pytest.fixture
def here(noisy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder is that of the noise."""
    monkeypatch.chdir(noisy)
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return noisy


def test_the_runs_have_memorised_their_images(run, tmp_path):
    shutil.copytree("n0", tmp_path / "old")
    (tmp_path / "old" / "training_images.safetensors").unlink()
    Run(tmp_path / "old").set_state("done")
    ended = run("evaluate", tmp_path / "old", "--data", "folder:copies", "--format", "json", "--quiet")
    results = json.loads(ended.out)
    assert results["top1"]["low"] > 80
    assert results["data"]["evaluated"] == "images that the run may have been trained on"
    ended = run("evaluate", tmp_path / "old", "--data", "folder:copies")
    assert f"The training images of {tmp_path / 'old'} are unknown: if evaluated images are among them" in ended.out


def test_evaluate_leaves_them_out(run, tmp_path):
    shutil.copytree("noise", tmp_path / "more")  # the names of the test images are not those of the run's split
    for path in list((tmp_path / "more").rglob("*.png")):
        path.rename(path.with_name(f"renamed-{path.name}"))
    out = run("evaluate", "n0", "--data", f"folder:{tmp_path / 'more'}", "--format", "json", "--quiet").out
    results = json.loads(out)
    assert (results["data"]["images"], results["data"]["left_out"]) == (TEST, LEARNED)
    assert results["top1"]["low"] < 50
    ended = run("evaluate", "n0", "--data", f"folder:{tmp_path / 'more'}", "--out", tmp_path / "report")
    assert f"Left out: {LEARNED} of {IMAGES} images, which are training or validation images of n0." in ended.out
    assert f"Left out: {LEARNED} of {IMAGES} images" in (tmp_path / "report" / "report.html").read_text()


def test_evaluate_warns_of_near_copies(run):
    ended = run("evaluate", "n0", "--data", "folder:copies", "--format", "json")
    assert json.loads(ended.out)["data"]["near_copies"] == LEARNED
    ended = run("evaluate", "n0", "--data", "folder:copies")
    assert (
        f"Warning: {LEARNED} of {IMAGES} evaluated images are near copies of training or validation images of n0"
        in ended.out
    )


def test_evaluate_refuses_training_images_alone(run, tmp_path):
    split = Run(Path("n0")).split_assignment
    assert split is not None
    for name in split["train"]:
        (tmp_path / "seen" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path("noise") / name, tmp_path / "seen" / name)
    for verb in (("evaluate", "n0"), ("inspect", "n0", "--verify")):
        ended = run(*verb, "--data", f"folder:{tmp_path / 'seen'}")
        assert ended.status == 2
        assert (
            f"All {LEARNED} images of folder:{tmp_path / 'seen'} are training or validation images of n0" in ended.err
        )


def test_inspect_leaves_them_out(run, tmp_path):
    copy = shutil.copytree("noise", tmp_path / "copy")
    ended = run("inspect", "n0", "--verify", "--data", f"folder:{copy}", "--format", "markdown", "--quiet")
    assert ended.status == 0
    assert f"Left out: {LEARNED} of {IMAGES} images, which are training or validation images of n0." in ended.out


@pytest.mark.parametrize("source", ["n0", "n0/model.safetensors"])
def test_the_weights_file_of_a_run_has_the_record_of_the_run(source):
    assert len(training_images_of(source).trained) == LEARNED


def test_compare_leaves_out_the_images_of_every_run(run, tmp_path):
    words = ("compare", "--data", "folder:noise", "--models", "n0,n1", "--folds", "3", "--out", tmp_path / "compared")
    ended = run(*words, "--quiet")
    assert ended.status == 0
    assert f"Left out: {LEARNED} of {IMAGES} images, which are training or validation images of n0, n1." in ended.out
    results = json.loads((tmp_path / "compared" / "results.json").read_text())
    assert results["data"]["left_out"] == LEARNED
    for model in results["models"].values():
        assert model["images"] == TEST and model["low"] < 50
    assert f"Left out: {LEARNED} of {IMAGES} images" in (tmp_path / "compared" / "report.html").read_text()


def test_a_training_from_a_run_warns_of_its_images_in_validation(run, tmp_path):
    settings = ("--set", "initialization.weights=n0", "--set", "validation=held_out", "--set", "epochs=1")
    ended = run(
        "train", "--data", "folder:noise", "--model", "mixer_nano", *OVERRIDES, *settings, "--out", tmp_path / "a"
    )
    assert "Warning: 12 of 12 validation images are training or validation images of " in ended.err
    assert ended.status == 0


def test_the_average_of_runs_has_learned_the_images_of_all(run, tmp_path):
    assert run("runs", "--average", "n0", "n1", "--out", tmp_path / "mean", "--quiet").status == 0
    copy = shutil.copytree("noise", tmp_path / "copy")
    ended = run("inspect", tmp_path / "mean", "--verify", "--data", f"folder:{copy}", "--quiet")
    assert f"Left out: {LEARNED} of {IMAGES} images" in " ".join(ended.out.split())


def test_a_converted_folder_has_learned_the_images_of_the_run(run, tmp_path):
    assert run("convert", "n0", tmp_path / "converted", "--to", "mixlab").status == 0
    ended = run("inspect", tmp_path / "converted", "--verify", "--data", "folder:noise", "--quiet")
    assert f"Left out: {LEARNED} of {IMAGES} images" in " ".join(ended.out.split())


@pytest.mark.parametrize(
    "verb",
    [
        ("study", "resolution", "--seeds", "2", "--epochs", "1"),
        ("compare", "--models", "mixer_nano,convmixer_nano", "--from-scratch", "--epochs", "1"),
    ],
    ids=["study", "compare"],
)
def test_a_test_split_of_training_images_is_refused_before_anything_is_trained(run, tmp_path, verb):
    for split in ("train", "test"):
        shutil.copytree("noise", tmp_path / "both" / split)
    ended = run(*verb, "--data", f"folder:{tmp_path / 'both'}", "--out", tmp_path / "out")
    assert ended.status == 2
    assert (
        f"All {IMAGES} images of folder:{tmp_path / 'both'} are training or validation images of folder:" in ended.err
    )
    assert not (tmp_path / "out").exists() and not (tmp_path / "store").exists()
