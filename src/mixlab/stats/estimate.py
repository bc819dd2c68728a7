"""A number and what it is worth."""

from dataclasses import dataclass
from typing import Self

TAIL = 0.025  # the chance left outside on either side of a 95 % interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval, all of it in `unit`.

    value      the estimate itself
    low, high  the interval's ends; None where the values can't tell, as one value alone can't
    n          how many values stand behind it: trainings, images or rounds
    unit       "%", "s", "images/s" ...; "" for a plain number
    spread     the sample standard deviation of the n values; None where they are not kept or only one
    """

    value: float
    low: float | None
    high: float | None
    n: int
    unit: str
    spread: float | None = None

    @classmethod
    def exact(cls, value: float, unit: str) -> Self:
        """A counted number, such as parameters: it is what it is."""
        return cls(value, low=value, high=value, n=1, unit=unit)
