"""The design of the study of patches: its cells, and the main effects and interactions that they estimate.

A cell is a level of each of four factors. Three factors have two levels; the mixing of patches has three. The half
fraction has, within each mixing, the four cells in which an even number of the two-level factors have their first
level. Every pair of levels of two factors, stem and shape say, then has one amount of images. Within each mixing, the
difference between the levels of a factor is therefore its main effect plus half of the interaction of the other two.
Effects of the mixing, and its interactions with one other factor, are aliased with interactions of three or more
factors only.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

Fraction = Literal["full", "half"]
Scores = Float64[np.ndarray, " repetition"]

MIXINGS = ("attention", "token MLP", "depthwise")
STEMS = ("patch", "convolutions")
SHAPES = ("isotropic", "pyramid")
FEW, MANY = IMAGES = ("few images", "many images")

_TWO_LEVELS: Mapping[str, tuple[str, str]] = {"stem": STEMS, "shape": SHAPES, "images": IMAGES}


class Network(NamedTuple):
    """A network, with a level of each factor of `variant:metaformer`."""

    mixing: str
    stem: str
    shape: str

    @property
    def name(self) -> str:
        return ", ".join(self)


class Cell(NamedTuple):
    """A network and the amount of images that it is trained on."""

    mixing: str
    stem: str
    shape: str
    images: str

    @property
    def network(self) -> Network:
        return Network(self.mixing, self.stem, self.shape)

    @property
    def name(self) -> str:
        return ", ".join(self)


class Contrast(NamedTuple):
    """Two levels of a factor, of which `low` is subtracted."""

    factor: str
    high: str
    low: str

    @property
    def name(self) -> str:
        return f"{self.high} over {self.low}"


STEM, SHAPE, DATA = (Contrast(factor, high, low) for factor, (low, high) in _TWO_LEVELS.items())
MLP_OVER_ATTENTION = Contrast("mixing", "token MLP", "attention")
DEPTHWISE_OVER_ATTENTION = Contrast("mixing", "depthwise", "attention")
DEPTHWISE_OVER_MLP = Contrast("mixing", "depthwise", "token MLP")
MIXING = (MLP_OVER_ATTENTION, DEPTHWISE_OVER_ATTENTION, DEPTHWISE_OVER_MLP)


class Effect(NamedTuple):
    """What one contrast makes of the accuracy, in points, or how the contrast `by` changes that.

    mixing  the cells that are compared; "": all
    """

    contrast: Contrast
    by: Contrast | None = None
    mixing: str = ""

    @property
    def name(self) -> str:
        if self.by is not None:
            return f"({self.contrast.name}) x ({self.by.name})"
        return f"{self.contrast.name}, with {self.mixing}" if self.mixing else self.contrast.name

    def values(self, scores: Mapping[Cell, Scores]) -> Scores:
        """The difference of means over cells, or the difference of two differences, for each repetition."""
        compared = {cell: of_cell for cell, of_cell in scores.items() if self.mixing in ("", cell.mixing)}
        return _difference(compared, [self.contrast, *([] if self.by is None else [self.by])])

    @property
    def alias(self) -> str:
        """The two factors whose interaction is in this effect, by half, in the half fraction; "" if there are none."""
        if self.by is not None or self.contrast.factor == "mixing":
            return ""
        return " and ".join(factor for factor in _TWO_LEVELS if factor != self.contrast.factor)


def cells(fraction: Fraction) -> list[Cell]:
    """The cells of the design, in the order of their levels."""
    every = [Cell(*levels) for levels in product(MIXINGS, STEMS, SHAPES, IMAGES)]
    return [cell for cell in every if fraction == "full" or _first_levels(cell) % 2 == 0]


def main_effects() -> list[Effect]:
    """The difference of each pair of levels of a factor, averaged over the levels of the others."""
    return [Effect(contrast) for contrast in (STEM, *MIXING, SHAPE, DATA)]


def interactions(fraction: Fraction) -> list[Effect]:
    """The interactions of two factors that are not aliased with a main effect."""
    with_mixing = [Effect(mixing, by) for by in (STEM, SHAPE, DATA) for mixing in MIXING]
    others = [Effect(STEM, SHAPE), Effect(STEM, DATA), Effect(SHAPE, DATA)]
    return [*with_mixing, *(others if fraction == "full" else [])]


def effects(fraction: Fraction) -> Iterator[Effect]:
    """Everything that is estimated: main effects, the effect of the stem for each mixing, and interactions."""
    yield from main_effects()
    yield from (Effect(STEM, mixing=mixing) for mixing in MIXINGS)
    yield from interactions(fraction)


def _first_levels(cell: Cell) -> int:
    """How many of the factors with two levels have their first one."""
    return sum(getattr(cell, factor) == levels[0] for factor, levels in _TWO_LEVELS.items())


def _difference(scores: Mapping[Cell, Scores], contrasts: Sequence[Contrast]) -> Scores:
    if not contrasts:
        return np.mean(list(scores.values()), axis=0)
    (factor, *levels), *others = contrasts
    high, low = (
        _difference({cell: one for cell, one in scores.items() if getattr(cell, factor) == level}, others)
        for level in levels
    )
    return high - low
