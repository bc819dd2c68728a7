"""Sounds on the command line: train, evaluate, predict, compare and explain, and what is refused."""

import csv
import json
import re
import tomllib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from mixlab.cli import train as cli
from mixlab.errors import UserError
from mixlab.prediction.predictor import Predictor
from mixlab.runs.folder import start_run
from mixlab.training.recipes.defaults import default_recipe
from sounds import SPECTROGRAM, tone, write_sound, write_sound_model, write_tones

PITCHES = (("high", 2_000.0), ("low", 300.0))
SETTING = "preprocessing.spectrogram={sample_rate=8000,window=256,hop=125,mels=32,seconds=0.5}"
SETTINGS = ("--set", "speed=off", "--set", "batch=8")
QUIETLY = (*SETTINGS, "--quiet")


@pytest.fixture
def tones(here: Path) -> Path:
    return write_tones(here / "tones", PITCHES, 12, seconds=0.6)


@pytest.fixture
def model(here: Path) -> Path:
    write_sound_model(here / "model")
    return Path("model")


def assert_names_sounds_only(shown: str) -> None:
    """The words of an output or a page have sounds and no images. The recipe in it has the key image_size."""
    words = re.sub(r"<style>.*?</style>|<script>.*?</script>|data:image/png|image_size", "", shown, flags=re.S)
    assert "image" not in words.lower()
    assert "sound" in words


@pytest.mark.long
def test_a_model_of_sounds_is_trained_and_evaluated_and_predicts_a_long_file(run, tones: Path):
    ended = run(
        *("train", "--data", f"audio:{tones}", "--model", "convmixer_nano", "--epochs", "40", "--out", "first"),
        *("--set", SETTING, "--set", "config.channels=16", "--set", "config.depth=2", *QUIETLY),
    )
    assert ended.status == 0, ended.err
    config = json.loads(Path("first/config.json").read_text())
    assert config["config"]["image_size"] == [32, 32]
    assert config["preprocess"]["spectrogram"] == SPECTROGRAM.to_dict()
    ended = run("evaluate", "first", "--out", "evaluated", "--quiet")
    assert ended.status == 0, ended.err
    noise = 0.01 * np.random.default_rng(1).standard_normal(48_000)  # as in training
    write_sound(Path("long.wav"), np.concatenate([tone(300, 1.0), tone(2_000, 2.0)]) + noise)
    rows = json.loads(run("predict", "first", "long.wav", "--excerpts", "--format", "json").out)["rows"]
    assert {row["label"] for row in rows if row["end_s"] <= 1} == {"low"}
    assert {row["label"] for row in rows if row["start_s"] >= 1} == {"high"}
    ended = run("publish", "first")
    assert (ended.status, "first is a model of sounds, which can't be published" in ended.err) == (2, True)


def test_the_probabilities_of_a_long_sound_are_the_mean_of_its_excerpts(run, model: Path):
    write_sound(Path("long.wav"), np.concatenate([tone(300, 1.0), tone(2_000, 2.0)]))
    rows = json.loads(run("predict", model, "long.wav", "--excerpts", "--format", "json").out)["rows"]
    assert (rows[0]["start_s"], rows[-1]["end_s"], len(rows)) == (0, pytest.approx(3), 11)
    assert all(row["end_s"] - row["start_s"] == pytest.approx(0.5) for row in rows)
    (row,) = json.loads(run("predict", model, "long.wav", "--format", "json").out)["rows"]
    label = row["label"]
    of_label = [one["probability"] if one["label"] == label else 1 - one["probability"] for one in rows]
    assert row["probability"] == pytest.approx(np.mean(of_label))


def test_a_folder_of_sounds_is_predicted_and_unreadable_ones_are_named(run, model: Path, tones: Path):
    (tones / "high" / "broken.wav").write_text("text")
    (tones / "notes.txt").write_text("text")
    ended = run("predict", model, tones, "--format", "csv")
    rows = list(csv.DictReader(ended.out.splitlines()))
    assert (ended.status, len(rows)) == (1, 24)
    assert list(rows[0]) == ["sound", "label", "probability"]
    assert "broken.wav can't be read: it is not a sound in a supported format" in ended.err
    assert "do not end in the suffix of a sound format: 1 file (notes.txt)" in ended.err


def test_a_sound_is_predicted_from_bytes_and_arrays_of_spectrograms(model: Path, tones: Path):
    predictor, file = Predictor(model, speed="off"), tones / "low/00.wav"
    short = write_sound(Path("short.wav"), tone(500, 0.3))
    expected = predictor(short)
    assert len(expected.excerpts) == 1 and len(predictor(file).excerpts) == 2
    for given in (short.read_bytes(), BytesIO(short.read_bytes()), str(short)):
        np.testing.assert_array_equal(predictor(given).probabilities, expected.probabilities)
    image = predictor.read(short).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(predictor(image).probabilities, expected.probabilities, atol=1e-6)


def test_the_sounds_of_a_folder_are_explained(run, model: Path, tones: Path):
    for number in range(2, 12):
        (tones / f"low/{number:02d}.wav").unlink()
    ended = run("explain", model, tones / "low", "--out", "maps")
    assert ended.status == 0, ended.err
    images = json.loads(Path("maps/results.json").read_text())["images"]
    assert [image["predicted"] in ("high", "low") for image in images] == [True, True]


@pytest.mark.long
def test_evaluations_and_explanations_of_sounds_call_them_sounds(run, model: Path, tones: Path):
    data = ("--data", f"audio:{tones}", "--speed", "off", "--device", "cpu")
    saved = run("evaluate", model, *data, "--save", "first.correct", "--save-logits", "first.parquet")
    compared = run("evaluate", model, *data, "--against", "first.correct", "--out", "compared")
    from_logits = run("evaluate", "first.parquet", "--data", f"audio:{tones}", "--out", "from_logits")
    explained = run("explain", model, tones / "low/00.wav", "--check", "1")
    probed = run("evaluate", model, "--data", f"audio:{tones}", "--probe", "knn:1")
    pages = [Path(folder, "report.html").read_text() for folder in ("compared", "from_logits")]
    for shown in (*(ended.out + ended.err for ended in (saved, compared, from_logits, explained, probed)), *pages):
        assert_names_sounds_only(shown)
    assert "Evaluated on: sounds that the model may have been trained on, 24 sounds." in saved.out
    assert "the test sounds" in probed.out and "1 sound" in explained.out


def test_a_rectangular_mixer_is_trained(run, tones: Path):
    ended = run(
        *("train", "--data", f"audio:{tones}", "--model", "mixer_nano", "--epochs", "1", "--out", "mixer"),
        *("--set", "preprocessing.spectrogram={sample_rate=8000,window=256,hop=125,mels=32,seconds=0.75}"),
        *("--set", "config.channels=16", "--set", "config.depth=1", *SETTINGS),
    )
    assert ended.status == 0, ended.err
    assert json.loads(Path("mixer/config.json").read_text())["config"]["image_size"] == [32, 48]
    assert_names_sounds_only(ended.err)
    assert_names_sounds_only(Path("mixer/report.html").read_text())


@pytest.mark.long
def test_models_are_compared_on_sounds_with_the_recipes_for_sounds(run, tones: Path):
    models = "mixer_nano,convmixer_nano"
    ended = run(
        *("compare", "--data", f"audio:{tones}", "--models", models, "--epochs", "1", "--seeds", "1"),
        *("--out", "compared", "--quiet"),
    )
    assert ended.status == 0, ended.err
    recipes = [tomllib.loads(file.read_text())["augmentation"] for file in Path("runs").glob("*/recipe.toml")]
    assert len(recipes) == 2
    assert all("spec_augment" in augmentation and not augmentation["flip"] for augmentation in recipes)


@pytest.mark.parametrize("kind", ["mixer", "convmixer", "davit", "resnet", "vit"])
def test_every_model_has_a_recipe_for_sounds_that_does_not_mirror_them(kind: str):
    name, fields = default_recipe(f"{kind}_nano", "audio:tones")
    assert name == f"sounds_{kind}"
    assert fields["augmentation"].keys() == {"time_shift", "spec_augment"}


def test_without_a_model_a_recipe_for_sounds_is_chosen(run, tones: Path):
    ended = run("train", "--data", f"audio:{tones}", "--dry-run")
    assert ended.status == 0, ended.err
    assert "spectrograms of sounds, and published weights are for photographs" in ended.err
    assert "sounds_convmixer" in ended.err


@pytest.mark.parametrize(
    ("words", "ability"),
    [(("export", "model", "exported", "--to", "onnx"), "exported"), (("serve", "model"), "served")],
)
def test_what_is_for_images_is_refused(run, model: Path, words: tuple[str, ...], ability: str):
    ended = run(*words)
    assert ended.status == 2
    assert f"model is a model of sounds, which can't be {ability}" in ended.err


def test_images_and_sounds_are_not_mixed_up(run, refused, model: Path, tones: Path, pets: Path):
    assert "is not a sound in a supported format" in run("predict", model, pets / "cat/00.png").err
    assert "mixlab data check is for images" in run("data", "check", f"audio:{tones}").err
    settings = ("--model", "convmixer_nano", "--epochs", "1", "--set", SETTING, *QUIETLY)
    words = refused("train", "--data", "folder:pets", *settings)
    assert "is an image, but the preprocessing has a spectrogram" in words


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("preprocessing.spectrogram={mels=300}", "spectrogram.mels=300 is too many for window=512"),
        ("preprocessing.spectrogram={seconds=0.001}", "spectrogram.seconds=0.001 is too short"),
        ("preprocessing.spectrogram={bands=40}", "bands"),
        ("augmentation.spec_augment={time_masks=9}", "augmentation.spec_augment.time_masks=9 is invalid"),
        ("augmentation.time_shift=2", "augmentation.time_shift=2"),
    ],
)
def test_settings_that_are_not_possible_are_refused(refused, tones: Path, setting: str, message: str):
    assert message in refused("train", "--data", f"audio:{tones}", "--model", "mixer_nano", "--set", setting, *QUIETLY)


def test_an_unreadable_sound_stops_a_training(refused, tones: Path):
    for number in range(20):
        write_sound(tones / "low" / f"{number:02d}.wav", np.zeros(0, dtype=np.float32), 8_000 + number)
    words = refused("train", "--data", f"audio:{tones}", "--model", "mixer_nano", "--epochs", "1", *QUIETLY)
    assert ".wav can't be read: it has no samples: its duration is 0 seconds." in words


def test_the_hint_about_moved_data_of_a_resumed_training_names_sounds(tmp_path: Path):
    stopped = start_run(tmp_path / "run", {"preprocessing": {"spectrogram": SPECTROGRAM.to_dict()}}, {}, {}, {}, None)
    with pytest.raises(UserError, match="If the sounds were moved, give their path with --data"):
        cli._open_data_of_recipe("audio:nowhere", "classification", stopped, print, hint=True, quiet=True)


def test_labels_of_sounds_are_refused(refused, tones: Path):
    assert "has sounds, and mixlab data labels is for images" in refused("data", "labels", f"audio:{tones}", "--quiet")


def test_published_weights_are_compared_on_sounds(run, tones: Path, default_weights):
    models = ",".join(default_weights[:2])
    ended = run("compare", "--data", f"audio:{tones}", "--models", models, "--folds", "2", "--out", "out", "--quiet")
    assert ended.status == 0, ended.err
    page = Path("out/report.html").read_text()
    assert "24 sounds; 24 are evaluated in 2 folds" in page
    assert "image" not in ended.out.replace("some of them on more images", "")
