"""Linear probes: resolved from a recipe, fitted, and written as a run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.data.dataset import Dataset
from mixlab.data.preprocess import Preprocess
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.evaluation.novelty import fit_novelty_detector, novelty_detector_of
from mixlab.evaluation.probes import features as cache
from mixlab.evaluation.probes.ridge import RIDGES
from mixlab.evaluation.training_images import read_training_images
from mixlab.prediction.predictor import Predictor
from mixlab.runs.folder import Run, open_run
from mixlab.runs.history import read_history
from mixlab.training.linear_probe import train as module
from mixlab.training.linear_probe.estimate import linear_probe_estimate
from mixlab.training.linear_probe.estimate_page import linear_probe_page
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.linear_probe.train import LinearProbeJob, resolve_linear_probe, train_linear_probe
from mixlab.training.recipes.parse import parse_recipe
from mixlab.training.recipes.schema import Recipe
from mixlab.training.runner import train_recipe
from mixlab.training.soup import average
from mixlab.weights.adapt import Weights
from mixlab.weights.load import load_pretrained
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import create_model

CPU = torch.device("cpu")
CLASSES = ("dark", "light", "red")

MakeJob = Callable[..., LinearProbeJob]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Random weights for images of 8 pixels; their features are good enough to classify plain images."""
    model = create_model(
        "mixer_nano", image_size=8, classes=5, patch_size=4, channels=8, token_hidden=8, channel_hidden=16, depth=1
    )
    folder = tmp_path / "mixer_tiny"
    folder.mkdir()
    weights = Weights("mixer", vars(model.config).copy(), dict(model.state_dict()))
    write_model_folder(folder, weights, tuple("abcde"), Preprocess((8, 8), "shorter_side", 0.9))
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Class folders with 20 images each, without splits."""
    random = np.random.default_rng(0)
    for label, colour in zip(CLASSES, ((60, 60, 60), (180, 180, 180), (180, 40, 40)), strict=True):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(20):
            image = np.clip(random.normal(colour, 25, size=(10, 12, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / "images" / label / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def make_job(source: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeJob:
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "cache")

    def make(dataset: Dataset | None = None, **fields: Any) -> LinearProbeJob:
        checked = parse_recipe({"model": str(source), "data": f"folder:{images}", "linear_probe": {}} | fields, "tiny")
        assert isinstance(checked, LinearProbeRecipe)
        return resolve_linear_probe(checked, dataset or open_dataset(f"folder:{images}"), CPU)

    return make


@pytest.fixture
def run(make_job: MakeJob, tmp_path: Path) -> Run:
    return train_linear_probe(make_job(), tmp_path / "run", quiet=True)


def test_the_run_is_finished_and_has_all_files(run):
    assert open_run(run.path).path == run.path
    assert {"environment.json", "split.json", "plan.json", "data.json"} <= {file.name for file in run.path.iterdir()}


def test_its_predictions_are_correct_and_calibrated(run, images):
    predictor = Predictor(run.path)
    assert predictor.classes == CLASSES
    predictions = [predictor(images / label / f"{number}.png") for label in CLASSES for number in range(20)]
    correct = [prediction.label == label for prediction, label in zip(predictions, np.repeat(CLASSES, 20), strict=True)]
    assert np.mean(correct) > 0.9
    # without calibration it is about 0.58, the softmax of the logits 1, 0 and 0
    assert np.mean([prediction.probabilities.max() for prediction in predictions]) > 0.65


def test_it_has_the_backbone_with_a_new_head_and_bilinear_interpolation(run, source):
    before, after = load_pretrained(source), load_pretrained(run.path)
    for name, tensor in before.weights.tensors.items():
        if not name.startswith("head."):
            torch.testing.assert_close(after.weights.tensors[name], tensor, rtol=0, atol=0)
    assert after.weights.tensors["head.weight"].shape == (3, 8)
    assert after.preprocess == replace(before.preprocess, interpolation="bilinear")


def test_the_preprocessing_of_the_recipe_replaces_that_of_the_weights(make_job, source, tmp_path):
    job = make_job(preprocessing={"interpolation": "bicubic", "mean": [0.1, 0.2, 0.3], "value_range": [0, 900]})
    preprocess = replace(load_pretrained(source).preprocess, mean=(0.1, 0.2, 0.3), value_range=(0, 900))
    assert job.backbone.preprocess == preprocess
    assert load_pretrained(train_linear_probe(job, tmp_path / "run", quiet=True).path).preprocess == preprocess


def test_the_recipe_and_the_weights_have_the_value_range_of_deep_images(make_job, images, tmp_path):
    for number, file in enumerate(sorted(images.rglob("*.png"))):
        Image.fromarray(np.full((8, 8), 2000 + number, dtype=np.uint16)).save(file)
    run = train_linear_probe(make_job(), tmp_path / "run", quiet=True)
    assert run.recipe["preprocessing"] == {"value_range": [0, 4095]}
    assert load_pretrained(run.path).image_preprocess.value_range == (0, 4095)


def test_a_probe_on_a_subset_has_the_value_range_of_all_training_images(make_job, images):
    for number, file in enumerate(sorted(images.rglob("*.png"))):
        Image.fromarray(np.full((8, 8), 2000 + number, dtype=np.uint16)).save(file)
    dataset = open_dataset(f"folder:{images}")
    brightest = dataset.splits["train"].images[-1]
    assert isinstance(brightest, Path)
    Image.fromarray(np.full((8, 8), 60_000, dtype=np.uint16)).save(brightest)
    job = make_job(dataset, subset={"per_class": 2})
    assert brightest not in job.dataset.splits["train"].images
    assert job.backbone.preprocess.value_range == (0, 65535)


def test_the_journal_has_the_ridges_and_the_validation_accuracy(run):
    ridges = read_history(run.journal).ridges
    assert [line["ridge"] for line in ridges] == list(RIDGES)
    (chosen,) = (line for line in ridges if line["chosen"])
    (epoch,) = read_history(run.journal).epochs
    assert epoch["validation"] == {"top1": chosen["top1"], "images": 6}
    assert (epoch["step"], epoch["epoch"]) == (1, 1)
    end = read_history(run.journal).end or {}
    assert (end["images"], end["unreadable"]) == (42, {})
    assert end["peak_bytes"] > 0


def test_its_page_shows_the_ridges_and_is_listed_in_the_status_file(run):
    page = run.report.read_text()
    assert "Ridge selection" in page
    assert page.count(">selected<") == 1
    assert "report.html" in json.loads((run.path / "status.json").read_text())["bytes"]


def test_the_recipe_of_the_run_is_complete_and_reproduces_it(run, make_job, tmp_path):
    assert run.recipe["image_size"] == 8
    assert run.recipe["linear_probe"]["ridges"] == list(RIDGES)
    again = make_job(**run.recipe)
    assert again.recipe.to_dict() == run.recipe
    copy = train_linear_probe(again, tmp_path / "again", quiet=True)
    assert copy.weights.read_bytes() == run.weights.read_bytes()


def test_without_a_validation_split_images_are_held_out_from_train_and_listed_in_the_run(make_job, shades, tmp_path):
    splits = {name: split for name, split in shades.splits.items() if name != "validation"}
    job = make_job(replace(shades, splits=splits))
    assert {name: len(split) for name, split in job.dataset.splits.items()} == {
        "train": 36,
        "test": 12,
        "validation": 4,
    }
    assert "held out as validation to select the ridge" in job.dataset.notes[-1]
    assignment = train_linear_probe(job, tmp_path / "run", quiet=True).split_assignment
    assert assignment is not None and len(assignment["validation"]) == 4


def test_unreadable_images_are_skipped_and_listed(make_job, images, tmp_path):
    job = make_job(max_unreadable=1)
    broken = job.dataset.splits["train"].names[0]
    (images / broken).write_bytes(b"no image")
    end = read_history(train_linear_probe(job, tmp_path / "run", quiet=True).journal).end or {}
    assert list(end["unreadable"]) == [broken]
    assert end["images"] == 41


def test_a_failure_leaves_no_folder_and_a_finished_run_is_not_overwritten(make_job, run, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="finished run"):
        train_linear_probe(make_job(), run.path, quiet=True)
    monkeypatch.delattr(module, "replace_head")
    with pytest.raises(NameError):
        train_linear_probe(make_job(), tmp_path / "new" / "run", quiet=True)
    assert not (tmp_path / "new").exists()


def test_a_run_that_another_process_has_finished_meanwhile_is_taken(make_job, run):
    written = run.weights.stat().st_mtime_ns
    train_recipe(make_job().recipe, None, run.path, waits=False)
    assert run.weights.stat().st_mtime_ns == written


def test_an_interrupted_training_is_not_overwritten(make_job, run):
    run.set_state("stopped")
    with pytest.raises(UserError, match="mixlab train --resume"):
        train_linear_probe(make_job(), run.path, quiet=True)


def test_a_timm_model_is_an_error(make_job, tmp_path):
    model = create_model("resnet_nano", layers=[1, 1, 1, 1], channels=[8, 8, 8, 8], classes=2)
    (tmp_path / "resnet").mkdir()
    weights = Weights("timm", vars(model.config).copy(), dict(model.state_dict()))
    write_model_folder(tmp_path / "resnet", weights, ("a", "b"), Preprocess((32, 32)))
    with pytest.raises(
        UserError, match=r"resnet is a timm model, .*: give a Mixer, a ConvMixer, a DaViT or a model of your own\."
    ):
        make_job(model=str(tmp_path / "resnet"))


def test_the_folder_in_the_store_depends_on_everything_that_determines_the_result(make_job, source):
    first = make_job()
    assert first.folder() == make_job().folder()
    assert first.folder().name.startswith("mixer_tiny-probe-folder-")
    others = [make_job(image_size=16), make_job(linear_probe={"ridges": [1.0]})]
    assert len({job.folder() for job in (first, *others)}) == 3


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"linear_probe": {"rigdes": [1.0]}},
            r'mine: the key "linear_probe\.rigdes" is unknown\. Did you mean "ridges"\?',
        ),
        (
            {"linear_probe": {"ridges": []}},
            r"mine: linear_probe\.ridges=\[\] is empty: give one or more",
        ),
        (
            {"linear_probe": {"ridges": [0.0]}},
            r"mine: linear_probe\.ridges=0\.0 is invalid: it must be greater than 0",
        ),
        ({"linear_probe": 3}, r"mine: linear_probe=3 is invalid: it must be a section with keys\."),
        ({"linear_probe": {}, "epochs": 3}, 'mine: the key "epochs" is unknown. This recipe is a linear probe'),
    ],
)
def test_an_invalid_recipe_of_a_linear_probe_is_an_error(fields, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_recipe({"model": "m", "data": "d"} | fields, "mine")


def test_a_recipe_without_the_section_is_a_training(tiny_recipe):
    assert isinstance(parse_recipe(tiny_recipe, "mine"), Recipe)


def test_a_linear_probe_records_its_images_and_those_of_its_backbone(make_job, tmp_path):
    job = make_job()
    run = train_linear_probe(job, tmp_path / "probe", quiet=True)
    record = read_training_images(open_run(run.path).training_images)
    assert (len(record.trained), len(record.selected)) == tuple(
        len(job.dataset.splits[name]) for name in ("train", "validation")
    )
    assert record.unknown == (job.backbone.source,)
    again = make_job(model=str(run.path))
    second = read_training_images(train_linear_probe(again, tmp_path / "again", quiet=True).training_images)
    assert second.unknown == (job.backbone.source,)


def test_a_linear_probe_has_a_detector_from_the_features_of_its_head(make_job, tmp_path):
    job = make_job(validation_share=0.85)
    run = train_linear_probe(job, tmp_path / "probe", quiet=True)
    detector = novelty_detector_of(open_run(run.path).path)
    train, validation = (
        cache.features(job.backbone, job.dataset.splits[name], job.device, batch=8, quiet=True).values
        for name in ("train", "validation")
    )
    expected = fit_novelty_detector(train, validation)
    assert detector is not None and expected is not None
    assert np.array_equal(detector.features, expected.features) and detector.threshold == expected.threshold


def test_probes_of_one_split_are_averaged(make_job, tmp_path):
    job = make_job(validation_share=0.85)
    runs = [train_linear_probe(job, tmp_path / name, quiet=True) for name in ("a", "b")]
    averaged = average(runs, tmp_path / "averaged", quiet=True)
    assert novelty_detector_of(averaged.path) is not None
    for name, tensor in load_pretrained(runs[0].path).weights.tensors.items():
        torch.testing.assert_close(load_pretrained(averaged.path).weights.tensors[name], tensor)


def test_an_estimate_for_sounds_calls_them_sounds(make_job, images):
    job = make_job(replace(open_dataset(f"folder:{images}"), noun="sound"))
    page = linear_probe_page(linear_probe_estimate(job)).html()
    for expected in (
        "Sounds without cached features",
        "measurement on a few sounds",
        "8 x 8 pixels of its spectrogram",
        "32 sounds per forward pass",
        "train sounds",
        "Time per sound",
        "Sounds per class",
    ):
        assert expected in page, expected


def test_a_stored_recipe_with_other_weights_is_refused(make_job, source, tmp_path):
    stored = make_job().recipe.to_dict()
    shutil.copytree(source, tmp_path / "other")
    recipe = LinearProbeRecipe.model_validate(stored | {"model": str(tmp_path / "other")})
    with pytest.raises(UserError, match=r"are different weights: remove one of them\."):
        resolve_linear_probe(recipe, open_dataset(recipe.data), CPU)


def test_a_head_that_is_kept_is_refused(make_job, source):
    with pytest.raises(UserError, match=r'initialization.head="keep" has no effect on a linear probe'):
        make_job(initialization={"weights": str(source), "head": "keep"})
