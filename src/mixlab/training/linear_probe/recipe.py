"""The recipe of a linear probe: a section [linear_probe] instead of [optimizer], [schedule] and the like."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from mixlab.errors import UserError
from mixlab.evaluation.probes.ridge import RIDGES
from mixlab.training.recipes.schema import (
    Count,
    Expected,
    Initialization,
    Positive,
    Preprocessing,
    Section,
    Subset,
    TransformSettings,
)


class RidgeSettings(Section):
    """The section [linear_probe]."""

    ridges: tuple[Positive, ...] = RIDGES  # regularization strengths; one is selected on validation

    @model_validator(mode="after")
    def _any_ridge(self) -> Self:
        if not self.ridges:
            raise UserError("linear_probe.ridges=[] is empty: give one or more ridges, or remove it for the default.")
        return self


class LinearProbeRecipe(Section):
    """All settings of a linear probe."""

    model: str  # weights that `mixlab.load` accepts
    data: str
    image_size: int | tuple[int, int] | None = None  # pixels; None: the default of the weights
    batch: Count = 32  # images per forward pass
    seed: int = Field(default=0, ge=0)  # only part of the run's key: a linear probe uses no random numbers
    workers: int = Field(default=0, ge=0)
    max_unreadable: int = Field(default=0, ge=0)  # unreadable images of each split that may be skipped
    # Held out from train and validation; None: the validation split of the data, or a tenth of train without one.
    validation_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    initialization: Initialization = Initialization()
    preprocessing: Preprocessing = Preprocessing()
    transform: TransformSettings | None = None
    subset: Subset | None = None
    linear_probe: RidgeSettings
    expected: Expected | None = None

    def to_dict(self) -> dict[str, Any]:
        """The recipe as values for TOML, without those that are None."""
        return self.model_dump(mode="json", exclude_none=True)
