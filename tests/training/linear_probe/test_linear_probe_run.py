"""The run of a linear probe is evaluated, published and listed like any other run."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.data.preprocess import Preprocess
from mixlab.data.sources import open_dataset
from mixlab.evaluation.model_evaluation import evaluate_model
from mixlab.evaluation.probes import features
from mixlab.export.model_card import model_card
from mixlab.export.publication import publication
from mixlab.runs.folder import Run
from mixlab.runs.run_list import list_runs
from mixlab.training.linear_probe.recipe import LinearProbeRecipe, RidgeSettings
from mixlab.training.linear_probe.train import resolve_linear_probe, train_linear_probe
from mixlab.weights.adapt import Weights
from mixlab.weights.load import load
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import create_model


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A linear probe of random weights on 40 images: dark cats and light dogs."""
    monkeypatch.setattr(features, "cache_folder", lambda: tmp_path / "cache")
    random = np.random.default_rng(0)
    for label, brightness in (("cat", 60), ("dog", 190)):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(20):
            pixels = brightness + random.integers(-40, 40, size=(8, 8, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pets" / label / f"{number}.png")
    model = create_model("convmixer_nano", image_size=8, classes=3, patch_size=4, channels=8, depth=1)
    (tmp_path / "tiny").mkdir()
    weights = Weights("convmixer", asdict(model.config), dict(model.state_dict()))
    write_model_folder(tmp_path / "tiny", weights, ("a", "b", "c"), Preprocess((8, 8)))
    dataset = open_dataset(f"folder:{tmp_path / 'pets'}")
    recipe = LinearProbeRecipe(model=str(tmp_path / "tiny"), data=dataset.name, linear_probe=RidgeSettings())
    return train_linear_probe(resolve_linear_probe(recipe, dataset, torch.device("cpu")), tmp_path / "run", quiet=True)


def test_it_is_evaluated_on_its_held_out_images(run):
    evaluated = evaluate_model(str(run.path), None, quiet=True)
    assert evaluated.evaluated == "the test split that the run held out"
    assert evaluated.evaluation.top1.n == 8
    assert evaluated.evaluation.top1.value == 100


def test_it_is_published_with_its_recipe_and_can_be_loaded(run, tmp_path):
    published = publication(run, evaluate_model(str(run.path), None, quiet=True), source="someone/pets", licence="mit")
    card = model_card(published)
    assert "[linear_probe]" in card and str(tmp_path) not in card
    (tmp_path / "published").mkdir()
    published.write(tmp_path / "published", card)
    torch.testing.assert_close(load(tmp_path / "published").state_dict(), load(run.path).state_dict())


def test_it_is_listed(run, tmp_path):
    (found,) = list_runs([tmp_path / "run"])
    assert found.row["model"] == str(tmp_path / "tiny")
    assert found.row["state"] == "done"
