"""The base of all sections of a recipe."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mixlab.errors import UserError

Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section of a recipe. Unknown keys, infinities and NaN are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def _require_unset(self, *keys: str, needs: str) -> None:
        """Raise UserError for keys that are set but have no effect without `needs`."""
        for key in keys:
            value = getattr(self, key)
            if value != type(self).model_fields[key].default:
                section = type(self).__name__.lower()
                raise UserError(f"{section}.{key}={value!r} has no effect without {needs}: remove it.")
