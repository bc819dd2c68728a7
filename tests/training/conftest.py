"""A tiny training, which takes a tenth of a second."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from inline import silent, train_inline
from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.evaluation.probes import features
from mixlab.training import runner
from mixlab.training.job import Job, resolve
from mixlab.training.recipes.parse import apply_overrides, parse_recipe, parse_training_recipe
from mixlab.training.runner import plan_trainings
from mixlab.training.training import Training

MakeJob = Callable[..., Job]
MakeTrainings = Callable[..., list[Training]]


@pytest.fixture
def make_job(tiny_recipe: dict[str, Any], shades: Dataset) -> MakeJob:
    """A function that makes a job of the tiny recipe with `key=value` settings, on the shades or another dataset."""

    def make(*settings: str, dataset: Dataset = shades) -> Job:
        return resolve(
            parse_training_recipe(apply_overrides(tiny_recipe, settings), "tiny"), dataset, torch.device("cpu")
        )

    return make


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "store"))
    monkeypatch.setattr(features, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "store"


@pytest.fixture
def make_trainings(tiny_recipe: dict[str, Any], pets: Path) -> MakeTrainings:
    """Trainings of the tiny Mixer on the pets: one for each seed, or for each set of fields."""

    def make(*given: int | dict[str, Any]) -> list[Training]:
        name = f"folder:{pets}"
        changes = [{"seed": one} if isinstance(one, int) else one for one in given]
        recipes = [parse_recipe(tiny_recipe | {"data": name} | one, "tiny") for one in changes]
        return plan_trainings(recipes, open_dataset(name), torch.device("cpu"), silent)

    return make


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    """All trainings in the order of their start. They run in this process, which saves the start of processes."""
    found: list[Training] = []

    def train_here(training: Training, *, waits: bool) -> Future[None]:
        found.append(training)
        return train_inline(training, waits=waits)

    monkeypatch.setattr(runner, "_start", train_here)
    return found


@pytest.fixture
def group_of_one() -> Iterator[None]:
    """A process group with a single process, in which each shard is the whole tensor."""
    store = distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()
