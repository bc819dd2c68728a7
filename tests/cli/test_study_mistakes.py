"""What every study with a dataset refuses before its first training: too few classes or images, and image sizes."""

from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from mixlab.cli.study import study_names


def module_of(study: str) -> ModuleType:
    return import_module(f"mixlab.studies.{study.replace('-', '_')}")


def settings_of(study: str) -> set[str]:
    return {setting.name for setting in fields(module_of(study).Settings)}


def takes_dataset(study: str) -> bool:
    """Of images with classes."""
    module = module_of(study)
    has_dataset = hasattr(module, "arms") or "dataset" in signature(module.run).parameters
    return has_dataset and not hasattr(module, "TASK")


STUDIES = [name for name in study_names() if takes_dataset(name)]
SIZED = [name for name in STUDIES if "image_size" in settings_of(name)]


@pytest.fixture
def study_refused(refused, here) -> Callable[..., str]:
    """Runs a study on new random images, which must be refused; returns the error message."""

    def study_refused(study: str, *words: str, classes: int, images: int) -> str:
        random = np.random.default_rng(0)
        for index in range(classes):
            folder = Path("photos") / f"class{index}"
            folder.mkdir(parents=True)
            for number in range(images):
                pixels = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
        speed = ("--speed", "off") if hasattr(module_of(study), "arms") else ()
        return refused("study", study, "--data", "folder:photos", *speed, *words, "--out", "found", "--quiet")

    return study_refused


def test_the_studies_with_a_dataset_are_known():
    assert {"convmixer", "resolution", "tying"} <= set(STUDIES) and {"patches", "position"} <= set(SIZED)
    assert "cost" not in STUDIES


@pytest.mark.parametrize("study", STUDIES)
def test_one_class_is_refused(study_refused, study):
    assert 'has only one class, "class0"' in study_refused(study, classes=1, images=20)


@pytest.mark.parametrize("study", STUDIES)
def test_two_images_are_refused(study_refused, study):
    assert 'has 1 different image of "class0", but at least 3 are needed' in study_refused(study, classes=2, images=1)


@pytest.mark.parametrize("study", SIZED)
def test_an_image_size_that_a_model_cannot_take_is_refused(study_refused, study):
    batch = ("--batch", "2") if "batch" in settings_of(study) else ()
    sentence = study_refused(study, "--image-size", "7", *batch, classes=5, images=12)
    assert "image-size 7" in sentence or "image_size=7" in sentence
