"""Probes of a model on a dataset: names, the splits that are used, the result, and errors."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.evaluation.probes import features as cache
from mixlab.evaluation.probes.features import features, open_backbone
from mixlab.evaluation.probes.few_shot import FewShot
from mixlab.evaluation.probes.knn import KNN
from mixlab.evaluation.probes.logistic import Logistic
from mixlab.evaluation.probes.probe import ProbeResult, parse_probe, probe
from mixlab.evaluation.probes.ridge import Ridge
from mixlab.report.table import render
from mixlab.stats.intervals import proportion_interval
from mixlab.stats.paired import crossed_interval
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import create_model

RunProbe = Callable[..., ProbeResult]
COLOURS = ("red", "green", "blue")


def colours(images: int, seed: int) -> Split:
    """Noisy images of 8x8 pixels."""
    random = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    means = np.array([[150, 110, 110], [110, 150, 110], [110, 110, 150]])
    pixels = means[labels][:, None, None] + random.integers(-100, 100, size=(images, 8, 8, 3))
    return Split([f"{seed}/{n}" for n in range(images)], labels, list(pixels.clip(0, 255).astype(np.uint8)))


@pytest.fixture
def dataset() -> Dataset:
    splits = {"train": colours(60, 0), "validation": colours(30, 1), "test": colours(90, 2)}
    return Dataset("colours", COLOURS, splits)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = create_model("convmixer_nano", image_size=8, patch_size=2, channels=12, depth=1, classes=5)
    folder = tmp_path / "weights"
    folder.mkdir()
    stored = Weights("convmixer", vars(model.config).copy(), dict(model.state_dict()))
    write_model_folder(folder, stored, tuple("abcde"), Preprocess((8, 8)))
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Path, dataset: Dataset) -> RunProbe:
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "cache")

    def call(method: str, on: Dataset = dataset, **more: Any) -> ProbeResult:
        return probe(weights, on, parse_probe(method), device="cpu", quiet=True, **more)

    return call


@pytest.mark.parametrize(
    ("text", "method"),
    [("fewshot:5", FewShot(5)), ("knn:20", KNN(20)), ("ridge", Ridge()), ("logistic", Logistic())],
)
def test_a_name_is_parsed_and_is_the_name_of_the_result(text, method):
    assert parse_probe(text) == method
    assert method.name == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fewshots:5", 'unknown: it must be fewshot:K, knn:K, ridge or logistic. Did you mean "fewshot"?'),
        ("svm", "unknown: it must be fewshot:K, knn:K, ridge or logistic."),
        ("fewshot", 'invalid: fewshot must be followed by a whole number of at least 1, such as "fewshot:5".'),
        ("knn:0", 'invalid: knn must be followed by a whole number of at least 1, such as "knn:20".'),
        ("knn:1.5", 'invalid: knn must be followed by a whole number of at least 1, such as "knn:20".'),
    ],
)
def test_an_invalid_name_is_an_error_with_the_valid_ones(text, message):
    with pytest.raises(UserError) as error:
        parse_probe(text)
    assert str(error.value) == f'probe "{text}" is {message}'


def test_a_number_after_a_method_without_one_is_an_error():
    with pytest.raises(UserError, match=r'^probe "ridge:5" has a number, but ridge takes none: write "ridge".$'):
        parse_probe("ridge:5")


@pytest.mark.parametrize("method", ["fewshot:5", "knn:5", "ridge", "logistic"])
def test_predictions_are_those_of_the_classifier_on_the_cached_features(run, weights, dataset, method):
    result = run(method)
    backbone = open_backbone(weights)
    train, validation, test = (
        features(backbone, split, torch.device("cpu"), batch=32, quiet=True) for split in dataset.splits.values()
    )
    parsed = parse_probe(method)
    expected = [
        parsed.fit(train, validation, COLOURS, seed).classifier.predict(test.values).tolist() for seed in parsed.seeds
    ]
    assert result.predictions.tolist() == expected
    assert result.labels.tolist() == dataset.splits["test"].labels.tolist()
    assert list(result.names) == dataset.splits["test"].names
    assert result.top1.value > 50


def test_the_features_of_all_probes_are_computed_once(run, monkeypatch):
    first = run("knn:5")
    monkeypatch.delattr(cache, "EvalBatches")
    assert run("knn:5").predictions.tolist() == first.predictions.tolist()
    assert run("fewshot:3").predictions.shape == (3, 90)


def test_the_interval_of_few_shot_is_over_draws_and_images(run):
    result = run("fewshot:3")
    assert len(set(result.top1_of_seeds)) > 1
    assert result.top1 == crossed_interval(result.correct)
    assert result.top1.value == pytest.approx(np.mean(result.top1_of_seeds))
    assert result.top1.spread == pytest.approx(np.std(result.top1_of_seeds, ddof=1))
    assert result.conclusion == (
        f"A linear classifier on 3 images of each class classifies {result.top1.value:.1f} % of 90 test images "
        f"correctly (mean of 3 draws, SD {result.top1.spread:.1f}; 95 % interval over draws and test images: "
        f"{result.top1.low:.1f} to {result.top1.high:.1f} %)."
    )


def test_the_interval_of_other_probes_is_over_images(run):
    result = run("ridge")
    assert result.top1 == proportion_interval(int(result.correct.sum()), 90)
    assert result.conclusion == (
        f"A ridge classifier on the training images classifies {result.top1.value:.1f} % of 90 test images correctly "
        f"(95 % interval over the test images: {result.top1.low:.1f} to {result.top1.high:.1f} %)."
    )


def test_the_table_has_the_accuracy_and_the_selected_penalty(run):
    (table,) = run("ridge").tables()
    text = render(table, "markdown")
    assert "training images" in text and "penalty" in text and "top-1 (%)" in text
    assert 'The most common class, "red", has 33.3 % of the test images.' in text
    assert table.rows[0]["images"] == 90
    (few,) = run("fewshot:3").tables()
    assert "penalty" not in [column.key for column in few.columns]
    assert few.rows[0]["images"] == 9


def test_the_result_is_written_as_json(run):
    result = run("fewshot:3")
    stored = json.loads(json.dumps(result.to_dict()))
    assert stored["probe"] == "fewshot:3"
    assert stored["top1"]["value"] == pytest.approx(result.top1.value)
    assert list(stored["top1_of_seeds"]) == ["0", "1", "2"]
    assert (stored["train_images"], stored["test_images"], stored["penalty"]) == (9, 90, None)
    ridge = run("ridge").to_dict()
    assert ridge["penalty"] in map(float, ridge["validation_top1"])


def test_test_images_among_the_training_images_are_left_out(run, dataset):
    test = dataset.splits["test"].concat(dataset.splits["train"].subset([0, 1, 2]))
    result = run("knn:5", replace(dataset, splits=dataset.splits | {"test": test}))
    assert len(result.labels) == 90
    assert any(note.startswith("Left out: 3 of 93 images, which are training or valid") for note in result.notes)


def test_unreadable_images_are_left_out_if_allowed(run, dataset, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken = Split(["broken"], np.array([0]), [tmp_path / "broken.png"])
    damaged = replace(dataset, splits=dataset.splits | {"test": dataset.splits["test"].concat(broken)})
    result = run("knn:5", damaged, max_unreadable=1)
    assert "broken" not in result.names and len(result.names) == len(result.labels) == 90
    assert any(note.startswith("broken was left out: ") for note in result.notes)
    with pytest.raises(UserError, match="broken"):
        run("knn:5", damaged)


@pytest.mark.parametrize(
    ("method", "missing", "message"),
    [
        ("knn:5", "train", "knn:5 needs train images, but colours has none"),
        ("ridge", "validation", "ridge needs validation images to select a penalty, but colours has none"),
        ("knn:5", "test", "knn:5 needs test images, but colours has none"),
    ],
)
def test_a_missing_split_is_an_error(run, dataset, method, missing, message):
    splits = {name: split for name, split in dataset.splits.items() if name != missing}
    with pytest.raises(UserError, match=f"^{message}: give a dataset with a {missing} split"):
        run(method, replace(dataset, splits=splits))


def test_one_class_is_an_error(run, dataset):
    red = dataset.splits["train"].subset(np.arange(0, 60, 3))
    with pytest.raises(UserError, match=r'^colours has training images of only one class, "red": a classifier needs'):
        run("knn:5", replace(dataset, splits=dataset.splits | {"train": red}))


def test_too_few_images_of_a_class_are_an_error(run):
    with pytest.raises(UserError, match=r'^fewshot:31 needs 31 training images of each class, but "red" has 30: give'):
        run("fewshot:31")
