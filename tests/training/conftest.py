"""A tiny training, which takes a tenth of a second."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import distributed

from mixlab.data.dataset import Dataset
from mixlab.training.job import Job, resolve
from mixlab.training.recipes.parse import apply_overrides, parse_training_recipe

MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(tiny_recipe: dict[str, Any], shades: Dataset) -> MakeJob:
    """A function that makes a job of the tiny recipe with `key=value` settings, on the shades or another dataset."""

    def make(*settings: str, dataset: Dataset = shades) -> Job:
        return resolve(
            parse_training_recipe(apply_overrides(tiny_recipe, settings), "tiny"), dataset, torch.device("cpu")
        )

    return make


@pytest.fixture
def group_of_one() -> Iterator[None]:
    """A process group with a single process, in which each shard is the whole tensor."""
    store = distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()
