"""What a comparison holds equal among its models."""

import math
from dataclasses import dataclass
from typing import Literal

from mixlab.errors import UserError
from mixlab.models.contract import ImageSize

Match = Literal["parameters", "macs", "seconds"]


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """What is held equal among the models. Only one of `epochs` and `minutes` says how long a training lasts."""

    seeds: int = 3
    epochs: int | None = None  # None: the recipes' own, which are equal
    minutes: float | None = None  # of the whole comparison, shared equally
    image_size: ImageSize | None = None  # pixels; None: each model's own
    match: Match | None = None  # what the first model has and the others are given

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(f"--seeds {self.seeds} trains nothing: give at least 1, and 3 or more to see the spread.")
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"--epochs {self.epochs} trains nothing: give at least 1.")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise UserError(
                f"--minutes {self.minutes:g} is no length of a training: give a number that is more than 0."
            )
        if self.minutes is not None and (self.epochs is not None or self.match == "seconds"):
            raise UserError(
                "--minutes stands beside --epochs or --match seconds, and each of them says how long a training lasts: "
                "give one."
            )
