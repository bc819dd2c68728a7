"""The recipe of a linear probe: the section [linear_probe] takes the place of [optimizer] and its companions."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from mixlab.errors import UserError
from mixlab.training.recipes.schema import Count, Expected, Initialization, Positive, Section, Subset, TransformSettings

RIDGES = tuple(float(f"1e{exponent}") for exponent in range(-5, 5))


class RidgeSettings(Section):
    ridges: tuple[Positive, ...] = RIDGES  # of which validation chooses one

    @model_validator(mode="after")
    def _any_ridge(self) -> Self:
        if not self.ridges:
            raise UserError("linear_probe.ridges=[] leaves nothing to choose from: give one or more, or leave it out.")
        return self


class LinearProbeRecipe(Section):
    model: str  # weights that `load` takes
    data: str
    image_size: int | tuple[int, int] | None = None  # pixels; None: the weights' own
    batch: Count = 32  # images that the model sees at once
    seed: int = Field(default=0, ge=0)  # only of the run's name: nothing is drawn
    workers: int = Field(default=0, ge=0)
    max_unreadable: int = Field(default=0, ge=0)  # images of each split that may be skipped
    validation_share: Annotated[float, Field(gt=0, lt=1)] | None = None  # of train and validation; None: validation,
    # where the data have one, else a tenth of train
    initialization: Initialization = Initialization()
    transform: TransformSettings | None = None
    subset: Subset | None = None
    linear_probe: RidgeSettings
    expected: Expected | None = None

    def to_dict(self) -> dict[str, Any]:
        """As TOML can hold it: what is None is left out."""
        return self.model_dump(mode="json", exclude_none=True)
