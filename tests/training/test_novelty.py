"""A finished training has a detector of images that are unlike its training images, if there are validation images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.evaluation.novelty import NoveltyDetector, fit_novelty_detector, novelty_detector_of
from mixlab.runs.folder import Run, open_run
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training import loop, soup
from mixlab.training.loop import train
from mixlab.training.soup import average
from mixlab.weights.load import load
from mixlab.zoo.user_code import trust_code

PLAN = Plan("cpu", ComputeMode(), 8)
OWN = """
from dataclasses import dataclass
from mixlab.models.mixer import Mixer, MixerConfig

class Scaled(Mixer):
    def forward(self, images):
        return 2 * self.head(self.embed(images)) + 1

def scaled(config: MixerConfig):
    return Scaled(config)
"""


@pytest.fixture
def many(shades: Dataset) -> Dataset:
    """The shades with 48 validation images."""
    random = np.random.default_rng(1)
    labels = np.arange(48) % 2
    images = 60 + 120 * labels[:, None, None, None] + random.integers(-40, 40, size=(48, 8, 8, 3))
    validation = Split([f"validation/{index}" for index in range(48)], labels, list(images.astype(np.uint8)))
    return replace(shades, splits={**shades.splits, "validation": validation})


@pytest.fixture
def trained(make_job, many: Dataset, tmp_path: Path) -> Callable[..., Run]:
    """A function that trains the tiny recipe with settings on the shades with 48 validation images."""

    def trained(name: str, *settings: str, dataset: Dataset = many) -> Run:
        return train(make_job(*settings, dataset=dataset), PLAN, tmp_path / name, quiet=True)

    return trained


def detector(run: Run) -> NoveltyDetector:
    found = novelty_detector_of(open_run(run.path).path)
    assert found is not None
    return found


def embeddings(run: Run, split: Split) -> np.ndarray:
    preprocess = Preprocess.from_dict(run.config["preprocess"])
    with torch.inference_mode():
        return load(run.path).embed(torch.stack([preprocess(split.image(i)) for i in range(len(split))])).numpy()


def assert_fits(found: NoveltyDetector, run: Run, dataset: Dataset) -> None:
    """The detector is that of the stored weights and the images of `dataset`."""
    expected = fit_novelty_detector(*(embeddings(run, dataset.splits[name]) for name in ("train", "validation")))
    assert expected is not None and found.validation_images == expected.validation_images
    assert found.features.astype(float) == pytest.approx(expected.features.astype(float), abs=1e-3)
    assert found.threshold == pytest.approx(expected.threshold, abs=1e-3)


@pytest.mark.parametrize("settings", [(), ("ema.decay=0.9",)])
def test_the_detector_is_that_of_the_stored_weights(trained, many, settings):
    run = trained("run", *settings)
    assert_fits(detector(run), run, many)


def test_models_of_timm_have_a_detector(trained, many):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    run = trained("run", "model=resnet_nano", "config={}")
    assert_fits(detector(run), run, many)


@pytest.mark.parametrize("setting", ["validation=merged", "validation=held_out"])
def test_without_enough_validation_images_there_is_none(trained, shades, many, setting):
    run = trained("run", setting, dataset=many if setting.endswith("merged") else shades)
    assert not run.novelty.exists()
    assert novelty_detector_of(open_run(run.path).path) is None


def test_validation_images_that_the_initial_weights_were_trained_on_do_not_count(trained, many):
    moved = many.splits["validation"].subset(range(10))
    first = trained("first", dataset=replace(many, splits={**many.splits, "train": moved}))
    assert not trained("second", f"model={first.path}", "config={}").novelty.exists()
    assert detector(trained("third", f"model={trained('other').path}", "config={}")).validation_images == 48


def test_a_training_that_was_killed_at_its_end_has_the_same_detector(trained, monkeypatch):
    expected = trained("whole")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(NoveltyDetector, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        trained("killed")
    killed = Run(expected.path.parent / "killed")
    assert killed.is_unfinished and not killed.novelty.exists()
    assert trained("killed").novelty.read_bytes() == expected.novelty.read_bytes()
    assert open_run(killed.path).weights.read_bytes() == expected.weights.read_bytes()


def test_the_detector_is_part_of_a_complete_run(trained):
    run = trained("run")
    run.novelty.unlink()
    with pytest.raises(ValueError, match=r"run is incomplete: novelty\.safetensors is missing"):
        open_run(run.path)


def test_a_model_whose_logits_are_not_those_of_its_head_has_none(trained, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    trust_code(tmp_path / "own.py")
    assert not trained("run", f"model=py:{tmp_path / 'own.py'}:scaled").novelty.exists()


def test_the_average_of_runs_has_a_detector_of_its_own(trained, many, tmp_path, monkeypatch):
    monkeypatch.setattr(soup, "open_dataset", lambda name: many)
    first = trained("first")
    runs = [trained(name, f"model={first.path}", "config={}", f"seed={name}") for name in "12"]
    mean = average(runs, tmp_path / "mean", quiet=True)
    assert_fits(detector(mean), mean, many)


def test_the_random_numbers_of_a_training_do_not_change(trained, monkeypatch):
    weights = trained("with").weights.read_bytes()
    monkeypatch.setattr(loop, "novelty_detector", lambda *_, **__: None)
    assert trained("without").weights.read_bytes() == weights
