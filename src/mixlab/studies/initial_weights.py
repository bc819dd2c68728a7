"""Arms that start from the weights of another arm, such as fine-tuned ones.

Their recipes have `weights_of(arm)` as initial weights: repetition i starts from repetition i of that arm. All arms are
planned together, before any of them is trained. Until then, random values stand in for the weights. The arm before may
be trained on other data.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mixlab.data.dataset import Dataset
from mixlab.measure.machine import pick_device
from mixlab.runs.folder import Run
from mixlab.runs.store import store_folder
from mixlab.training.job import Job, resolve
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.linear_probe.train import LinearProbeJob, resolve_linear_probe
from mixlab.training.recipe_data import open_data
from mixlab.training.recipes.schema import Recipe
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder

_PREFIX = "arm:"


def weights_of(arm: str) -> str:
    """The initial weights of a recipe: those of the same repetition of another arm, which itself starts from none."""
    return _PREFIX + arm


def arm_before(recipe: Recipe | LinearProbeRecipe) -> str | None:
    """The arm whose weights a recipe starts from."""
    weights = recipe.initialization.weights
    return weights.removeprefix(_PREFIX) if weights is not None and weights.startswith(_PREFIX) else None


def with_arm_before(stored: Mapping[str, Any], arms: Mapping[str, str]) -> dict[str, Any]:
    """A stored recipe with the name of the arm in place of the folder with its initial weights.

    arms  arm of each folder
    """
    initialization = stored.get("initialization", {})
    arm = arms.get(initialization.get("weights"))
    return {**stored, **({} if arm is None else {"initialization": initialization | {"weights": weights_of(arm)}})}


def data_of(arms: Mapping[str, Sequence[Recipe | LinearProbeRecipe]], dataset: Dataset) -> dict[str, Dataset]:
    """The data sets of the recipes, by their names in the recipes; `dataset` is that of the study.

    Raises UserError if another one can't be opened.
    """
    recipes = {recipe.data: recipe for of_arm in arms.values() for recipe in of_arm}
    return {name: dataset if name == dataset.name else open_data(recipe) for name, recipe in recipes.items()}


def started_job(recipe: Recipe | LinearProbeRecipe, before: Run, dataset: Dataset) -> Job | LinearProbeJob:
    """The job of a recipe that starts from the weights of the run `before`."""
    started, device = _starting_from(recipe, before.path), pick_device()
    if isinstance(started, LinearProbeRecipe):
        return resolve_linear_probe(started, dataset, device)
    return resolve(started, dataset, device)


@contextmanager
def with_stand_ins(
    arms: Mapping[str, Sequence[Recipe | LinearProbeRecipe]], datasets: Mapping[str, Dataset]
) -> Iterator[dict[str, list[Recipe | LinearProbeRecipe]]]:
    """The arms, where random values stand in for the weights of other arms. They exist within the context only.

    `datasets` is the result of `data_of`. The values are the same on all machines, because plans are stored by them.
    """
    store = store_folder()  # the machines of a cluster see it
    with tempfile.TemporaryDirectory(prefix=".stand-ins-", dir=store if store.is_dir() else None) as folder:

        def stand_in(arm: str, repetition: int) -> Path:
            weights = Path(folder) / f"{list(arms).index(arm)}-{repetition}"
            recipe = arms[arm][repetition]
            assert isinstance(recipe, Recipe)
            if not weights.exists():
                weights.mkdir()
                _write_random_values(resolve(recipe, datasets[recipe.data], pick_device()), weights)
            return weights

        yield {
            name: [
                recipe
                if (before := arm_before(recipe)) is None
                else _starting_from(recipe, stand_in(before, repetition))
                for repetition, recipe in enumerate(recipes)
            ]
            for name, recipes in arms.items()
        }


def _starting_from(recipe: Recipe | LinearProbeRecipe, weights: Path) -> Recipe | LinearProbeRecipe:
    initialization = recipe.initialization.model_copy(update={"weights": str(weights)})
    return recipe.model_copy(update={"initialization": initialization})


def _write_random_values(job: Job, folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    architecture = job.architecture
    tensors = {
        name: (torch.rand(tensor.shape, generator=generator) / 10).to(tensor.dtype)
        for name, tensor in architecture.on_meta().state_dict().items()
    }
    weights = Weights(architecture.family, architecture.config, tensors)
    write_model_folder(folder, weights, job.dataset.classes, job.preprocess)
