"""The models of a comparison before training: recipes, and a common compute mode for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mixlab.comparison.settings import ComparisonSettings
from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.measure.machine import pick_device
from mixlab.models.contract import ImageSize
from mixlab.report.progress import Log
from mixlab.speed.plan import Plan
from mixlab.training.job import Job, resolve
from mixlab.training.planning.autotune import select_common_plans
from mixlab.training.planning.stored_plans import local_plans
from mixlab.training.recipes.defaults import default_recipe, reads_texts
from mixlab.training.recipes.for_task import RECIPES, for_task
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.recipe_files import read_recipe
from mixlab.training.runner import select_plans
from mixlab.training.training import Training
from mixlab.weights.source import is_pretrained


@dataclass(frozen=True)
class Candidate:
    """A model with its recipe; `job` has seed 0."""

    name: str
    recipe_name: str
    job: Job

    @property
    def parameters(self) -> int:
        return self.job.architecture.parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass of one image or text."""
        return self.job.architecture.macs

    def with_steps(self, steps: int) -> "Candidate":
        """This candidate with `steps` steps of training instead of the epochs of the recipe."""
        recipe = self.job.recipe.model_copy(update={"epochs": None, "steps": steps})
        return replace(self, job=replace(self.job, recipe=recipe))


@dataclass(frozen=True)
class PlannedCandidate:
    """A candidate with the plan of all its trainings."""

    candidate: Candidate
    plan: Plan
    seconds_per_step: float

    @property
    def name(self) -> str:
        return self.candidate.name

    def training(self, seed: int) -> Training:
        job = self.candidate.job
        seeded = replace(job, recipe=job.recipe.model_copy(update={"seed": seed}))
        return Training(seeded, self.plan, self.seconds_per_step)

    def lasting(self, seconds: float) -> "PlannedCandidate":
        """This candidate with the number of steps that is estimated to take `seconds`, at least 1."""
        return replace(self, candidate=self.candidate.with_steps(max(round(seconds / self.seconds_per_step), 1)))


def make_candidate(
    name: str,
    dataset: Dataset,
    *,
    task: str = "classification",
    image_size: ImageSize | None,
    epochs: int | None,
    config: Mapping[str, Any],
) -> Candidate:
    """The model `name` with its default recipe for `task`, which the arguments override. Raises UserError."""
    recipe_name, fields = _default_recipe(name, dataset.name, task)
    given = {"image_size": image_size, "epochs": epochs}
    fields |= {key: value for key, value in given.items() if value is not None}
    # Nothing is selected on the validation images, so they are used for training.
    fields |= {"config": {**fields.get("config", {}), **config}, "validation": "merged"}
    return Candidate(name, recipe_name, resolve(parse_training_recipe(fields, recipe_name), dataset, pick_device()))


def _default_recipe(model: str, data: str, task: str) -> tuple[str, dict[str, Any]]:
    """The name of the default recipe for a model, a dataset and a task, and its fields."""
    if is_pretrained(model):
        option = "--from-scratch" if task == "classification" else f"--task {task}"
        raise UserError(
            f"{model} is pretrained, but {option} trains all models from scratch: give "
            f"{'variant:text_mixer' if task == 'text' else 'mixer_nano, timm:NAME'} or variant:NAME."
        )
    if task == "text" and not reads_texts(model):
        raise UserError(
            f"{model} reads images, but --task text has texts: give models that read texts, such as variant:text_mixer "
            "and variant:text_transformer."
        )
    if task in RECIPES:
        return RECIPES[task], read_recipe(RECIPES[task]) | {"model": model, "data": data}
    name, fields = default_recipe(model, data)
    return name, for_task(fields, task, _unlogged)


def _unlogged(sentence: str) -> None:
    """The report has the recipes of all models."""


def plan_candidates(candidates: Sequence[Candidate], settings: ComparisonSettings, log: Log) -> list[PlannedCandidate]:
    """Select the compute mode and the number of concurrent trainings with the shortest total time of all candidates.

    With `match="seconds"` the trainings run one at a time, because the training time of the first model is measured.
    """
    jobs = [candidate.job for candidate in candidates]
    if settings.match == "seconds":
        plans = local_plans("alone", jobs, partial(select_common_plans, jobs, log), log)
    else:
        plans = select_plans(jobs, log, seeds=settings.seeds)
    return [PlannedCandidate(candidate, *plan) for candidate, plan in zip(candidates, plans, strict=True)]


def require_several(models: Sequence[str]) -> None:
    if len(set(models)) < max(len(models), 2):
        raise UserError(f"--models {','.join(models)} is not a comparison: give two or more different models.")
