"""A number with its uncertainty."""

from dataclasses import dataclass
from typing import Self

TAIL = 0.025  # probability in each tail outside a 95 % interval
RESAMPLES = 10_000  # of a bootstrap


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval. All fields except `n` are in `unit`.

    value      the estimate
    low, high  bounds of the 95 % interval; None if the values do not determine one, for example a single value
    n          number of values that the estimate is based on: trainings, images or rounds
    unit       "%", "s", "images/s" ...; "" for a plain number
    spread     sample standard deviation of the n values; None if they are not stored or there is only one
    """

    value: float
    low: float | None
    high: float | None
    n: int
    unit: str
    spread: float | None = None

    @classmethod
    def exact(cls, value: float, unit: str) -> Self:
        """An estimate without uncertainty, for counted numbers such as parameters: low == high == value."""
        return cls(value, low=value, high=value, n=1, unit=unit)

    @property
    def extent(self) -> tuple[float, float]:
        """The bounds of the interval; twice the value if there is none."""
        if self.low is None or self.high is None:
            return self.value, self.value
        return self.low, self.high
