"""A head in closed form as a run: made from a recipe, and used by everything that uses a run."""

import json
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
from mixlab.evaluation.probes import features as cache
from mixlab.prediction.predictor import Predictor
from mixlab.runs.folder import Run, open_run
from mixlab.runs.history import read_history
from mixlab.training.linear_probe import train as module
from mixlab.training.linear_probe.recipe import RIDGES, LinearProbeRecipe
from mixlab.training.linear_probe.train import LinearProbeJob, resolve_linear_probe, train_linear_probe
from mixlab.training.recipes.parse import parse_recipe
from mixlab.training.recipes.schema import Recipe
from mixlab.weights.adapt import Weights
from mixlab.weights.load import load_pretrained
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import create_model

CPU = torch.device("cpu")
CLASSES = ("dark", "light", "red")

MakeJob = Callable[..., LinearProbeJob]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Random weights for images of 8 pixels: their features of so plain images are as good as any."""
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
    """Class folders alone, 20 of each."""
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


def test_the_run_is_whole_and_finished(run):
    assert open_run(run.path).path == run.path
    assert {"environment.json", "split.json", "plan.json", "data.json"} <= {file.name for file in run.path.iterdir()}


def test_it_answers_as_the_images_are(run, images):
    predictor = Predictor(run.path)
    assert predictor.classes == CLASSES
    answers = [predictor(images / label / f"{number}.png") for label in CLASSES for number in range(20)]
    correct = [answer.label == label for answer, label in zip(answers, np.repeat(CLASSES, 20), strict=True)]
    assert np.mean(correct) > 0.9
    assert (
        np.mean([answer.probabilities.max() for answer in answers]) > 0.65
    )  # of a ridge's answers, 1 and two 0, it is 0.58


def test_it_is_the_backbone_but_for_the_head_and_sees_bilinearly(run, source):
    before, after = load_pretrained(source), load_pretrained(run.path)
    for name, tensor in before.weights.tensors.items():
        if not name.startswith("head."):
            torch.testing.assert_close(after.weights.tensors[name], tensor, rtol=0, atol=0)
    assert after.weights.tensors["head.weight"].shape == (3, 8)
    assert after.preprocess == replace(before.preprocess, interpolation="bilinear")


def test_the_journal_tells_the_ridges_and_what_was_reached(run):
    ridges = read_history(run.journal).ridges
    assert [line["ridge"] for line in ridges] == list(RIDGES)
    (chosen,) = (line for line in ridges if line["chosen"])
    (epoch,) = read_history(run.journal).epochs
    assert epoch["validation"] == {"top1": chosen["top1"], "images": 6}
    assert (epoch["step"], epoch["epoch"]) == (1, 1)
    end = read_history(run.journal).end or {}
    assert (end["images"], end["unreadable"]) == (42, {})
    assert end["peak_bytes"] > 0


def test_its_page_shows_the_ridges_and_is_part_of_the_whole_run(run):
    page = run.report.read_text()
    assert "Ridge selection" in page
    assert page.count(">selected<") == 1
    assert "report.html" in json.loads((run.path / "status.json").read_text())["bytes"]


def test_the_recipe_of_the_run_leaves_nothing_open_and_makes_it_again(run, make_job, tmp_path):
    assert run.recipe["image_size"] == 8
    assert run.recipe["linear_probe"]["ridges"] == list(RIDGES)
    again = make_job(**run.recipe)
    assert again.recipe.to_dict() == run.recipe
    copy = train_linear_probe(again, tmp_path / "again", quiet=True)
    assert copy.weights.read_bytes() == run.weights.read_bytes()


def test_a_set_without_validation_gives_some_of_train_and_the_run_keeps_which(make_job, shades, tmp_path):
    splits = {name: split for name, split in shades.splits.items() if name != "validation"}
    job = make_job(replace(shades, splits=splits))
    assert {name: len(split) for name, split in job.dataset.splits.items()} == {
        "train": 36,
        "test": 12,
        "validation": 4,
    }
    assert "to select the ridge" in job.dataset.notes[-1]
    assignment = train_linear_probe(job, tmp_path / "run", quiet=True).split_assignment
    assert assignment is not None and len(assignment["validation"]) == 4


def test_unreadable_images_are_left_out_and_named(make_job, images, tmp_path):
    job = make_job(max_unreadable=1)
    broken = job.dataset.splits["train"].names[0]
    (images / broken).write_bytes(b"no image")
    end = read_history(train_linear_probe(job, tmp_path / "run", quiet=True).journal).end or {}
    assert list(end["unreadable"]) == [broken]
    assert end["images"] == 41


def test_a_failure_leaves_no_folder_and_a_finished_run_stays(make_job, run, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="finished run"):
        train_linear_probe(make_job(), run.path, quiet=True)
    monkeypatch.delattr(module, "replace_head")
    with pytest.raises(NameError):
        train_linear_probe(make_job(), tmp_path / "new" / "run", quiet=True)
    assert not (tmp_path / "new").exists()


def test_a_training_that_was_broken_off_is_not_overwritten(make_job, run):
    run.set_state("stopped")
    with pytest.raises(UserError, match="mixlab train --resume"):
        train_linear_probe(make_job(), run.path, quiet=True)


def test_a_model_of_timm_s_is_refused(make_job, tmp_path):
    model = create_model("resnet_nano", layers=[1, 1, 1, 1], channels=[8, 8, 8, 8], classes=2)
    (tmp_path / "resnet").mkdir()
    weights = Weights("timm", vars(model.config).copy(), dict(model.state_dict()))
    write_model_folder(tmp_path / "resnet", weights, ("a", "b"), Preprocess((32, 32)))
    with pytest.raises(UserError, match=r"resnet is a model of timm's: .*Give a Mixer, a ConvMixer or a DaViT\."):
        make_job(model=str(tmp_path / "resnet"))


def test_the_store_knows_the_run_by_all_that_decides_it(make_job, source):
    first = make_job()
    assert first.folder() == make_job().folder()
    assert first.folder().name.startswith("mixer_tiny-head-folder-")
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
        ({"linear_probe": 3}, "mine: linear_probe=3 is invalid: it must be a section with keys"),
        ({"linear_probe": {}, "epochs": 3}, 'mine: the key "epochs" is unknown. Known keys: model, data, image_size'),
    ],
)
def test_a_recipe_of_a_head_is_refused_as_any_is(fields, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_recipe({"model": "m", "data": "d"} | fields, "mine")


def test_without_the_section_it_is_a_training_by_steps(tiny_recipe):
    assert isinstance(parse_recipe(tiny_recipe, "mine"), Recipe)
