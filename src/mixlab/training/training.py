"""`Training`: a job with its plan, ready to run in any process."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mixlab.speed.plan import Plan
from mixlab.training.job import Job
from mixlab.training.linear_probe.train import LinearProbeJob
from mixlab.training.planning.autotune import total_steps
from mixlab.training.recipes.schema import Recipe

STARTUP_SECONDS = 2.0
"""Time per training in addition to its steps: start of the process, data, last checkpoint."""


@dataclass(frozen=True)
class Training:
    """A job with its plan and the estimated seconds per step. Both are None for a linear probe.

    name  in messages, such as the arm of a study; None: the model
    """

    job: Job | LinearProbeJob
    plan: Plan | None = None
    seconds_per_step: float | None = None
    name: str | None = None

    @cached_property
    def folder(self) -> Path:
        """The folder in the store."""
        return self.job.folder(self.plan) if isinstance(self.job, Job) else self.job.folder()

    @cached_property
    def steps(self) -> int:
        """The number of steps; 0 for a linear probe."""
        return total_steps(self.job) if isinstance(self.job, Job) else 0

    @property
    def concurrent(self) -> int:
        """The number of trainings that run at the same time."""
        return 1 if self.plan is None else self.plan.concurrent

    @property
    def seconds(self) -> float:
        """Estimated seconds of the training. A linear probe counts with its start-up only."""
        return STARTUP_SECONDS + self.steps * (self.seconds_per_step or 0.0)

    def __str__(self) -> str:
        recipe = self.job.recipe
        left_out = recipe.subset.left_out_fold if isinstance(recipe, Recipe) and recipe.subset else None
        fold = "" if left_out is None else f", without fold {left_out}"
        return f"{self.name or recipe.model}, seed {recipe.seed}{fold}"


def estimated_seconds(trainings: Iterable[Training]) -> float:
    """Estimated seconds of all trainings, with as many at the same time as their plans say."""
    return sum(training.seconds / training.concurrent for training in trainings)
