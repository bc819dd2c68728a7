"""A training that takes a tenth of a second."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mixlab.data.dataset import Dataset
from mixlab.training.prepare import Job, resolve
from mixlab.training.recipe import recipe_from, with_settings

MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(tiny_recipe: dict[str, Any], shades: Dataset) -> MakeJob:
    """The tiny recipe with `key=value` settings over it, on the shades or on another set."""

    def make(*settings: str, dataset: Dataset = shades) -> Job:
        return resolve(recipe_from(with_settings(tiny_recipe, settings), "tiny"), dataset, torch.device("cpu"))

    return make
