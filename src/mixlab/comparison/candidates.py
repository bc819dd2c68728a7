"""Who is compared, with which recipe and under which plan: all that is decided before the first training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from mixlab.data.batches import steps_per_epoch
from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.measure.machine import pick_device
from mixlab.measure.macs import count_parameters
from mixlab.models.contract import ImageSize
from mixlab.speed.plan import Plan
from mixlab.training.job import Job, resolve
from mixlab.training.planning.autotune import cached_plan
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.zoo.build import macs_of

DEFAULT_MODELS = ("mixer_nano", "convmixer_nano", "davit_nano", "resnet_nano", "vit_nano")


@dataclass(frozen=True)
class Candidate:
    """A model with its recipe, ready to be trained with any seed."""

    name: str
    recipe_name: str
    job: Job
    parameters: int
    macs: int  # of one image, forward

    def seeded(self, seed: int) -> Job:
        return replace(self.job, recipe=self.job.recipe.model_copy(update={"seed": seed}))

    def lasting(self, steps: int) -> "Candidate":
        recipe = self.job.recipe.model_copy(update={"epochs": None, "steps": steps})
        return replace(self, job=replace(self.job, recipe=recipe))


@dataclass(frozen=True)
class PlannedCandidate:
    """A contender with the plan that all its seeds run under."""

    candidate: Candidate
    plan: Plan
    seconds_per_step: float  # in the plan's trial

    @property
    def name(self) -> str:
        return self.candidate.name

    @property
    def seconds(self) -> float:
        """That the steps of one training will take, by the trial."""
        job = self.candidate.job
        return job.steps(steps_per_epoch(len(job.dataset.splits["train"]), job.batch)) * self.seconds_per_step

    def lasting(self, seconds: float) -> "PlannedCandidate":
        """With as many steps as take so long, by the trial."""
        return replace(self, candidate=self.candidate.lasting(max(round(seconds / self.seconds_per_step), 1)))


def make_candidate(
    name: str, dataset: Dataset, *, image_size: ImageSize | None, epochs: int | None, config: Mapping[str, Any]
) -> Candidate:
    """The model `name` with its usual recipe, but for what is given."""
    recipe_name, fields = default_recipe(name, dataset.name)
    given = {"image_size": image_size, "epochs": epochs}
    fields |= {key: value for key, value in given.items() if value is not None}
    fields["config"] = {**fields.get("config", {}), **config}
    job = resolve(parse_training_recipe(fields, recipe_name), dataset, pick_device())
    with torch.device("meta"):
        model = job.build()
    return Candidate(name, recipe_name, job, count_parameters(model), macs_of(model))


def require_several(models: Sequence[str]) -> None:
    if len(set(models)) < max(len(models), 2):
        raise UserError(f"--models {','.join(models)} compares nothing: give two or more different models.")


def plan_candidate(candidate: Candidate, log: Callable[[str], None]) -> PlannedCandidate:
    return PlannedCandidate(candidate, *cached_plan(candidate.job, log))
