"""Settings of a comparison of models that are trained from scratch."""

import math
from dataclasses import dataclass
from typing import Literal

from mixlab.errors import UserError
from mixlab.models.contract import ImageSize
from mixlab.tasks.classification import CLASSIFICATION
from mixlab.tasks.task import Task

Match = Literal["parameters", "macs", "seconds"]


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """What all models of a comparison have in common.

    `epochs`, `minutes` and `match="seconds"` each set the length of a training. If none is given, the epochs of the
    recipes apply; these are the same for all default recipes.

    seeds       trainings of each model, at least 1
    epochs      epochs of each training, at least 1; None: as many as the recipe has
    minutes     duration of the whole comparison, divided equally among the trainings; cannot be combined with
                `epochs` or `match="seconds"`
    image_size  input size of all models in pixels; None: the size of each model
    match       the quantity of the first model that the other models are adjusted to
    tune        random trials of the settings of each model, at least 2; None: the settings of the recipes

    Raises UserError if a value is out of range, or if `minutes` or `match="seconds"` is combined with another setting
    that determines the duration.
    """

    seeds: int = 3
    epochs: int | None = None
    minutes: float | None = None
    image_size: ImageSize | None = None
    match: Match | None = None
    tune: int | None = None

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(
                f"--seeds {self.seeds} is out of range: it must be at least 1. Use 3 or more to estimate the spread."
            )
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"--epochs {self.epochs} is out of range: it must be at least 1.")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise UserError(
                f"--minutes {self.minutes:g} is out of range: it must be positive and finite, for example 30."
            )
        if self.minutes is not None and (self.epochs is not None or self.match == "seconds"):
            raise UserError(
                "--minutes cannot be combined with --epochs or --match seconds, because each of them sets the length "
                "of a training: give only one of them."
            )
        if self.tune is not None and self.tune < 2:
            raise UserError(f"--tune {self.tune} is out of range: it must be at least 2, the trials of each model.")
        if self.tune is not None and (self.minutes is not None or self.match == "seconds"):
            raise UserError(
                "--tune cannot be combined with --minutes or --match seconds, because its trials have the epochs of "
                "the recipes: use --epochs to make the trainings shorter."
            )


def check_task(settings: ComparisonSettings, task: Task) -> None:
    """Raises UserError if a setting can't be used for `task`."""
    if settings.tune is not None and task is not CLASSIFICATION:
        raise UserError(
            f"--tune {settings.tune} trains on parts of the images, which are selected by the class of each image: it "
            f"can't be used with --task {task.name}, so remove it."
        )
    if settings.image_size is not None and task.noun == "text":
        raise UserError("--image-size is for images: it can't be used with --task text, so remove it.")
