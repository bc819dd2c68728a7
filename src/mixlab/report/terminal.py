"""A curve in text: columns that stand on zero, as wide as the terminal, also where it has ASCII alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixlab.report.axes import Axis
from mixlab.report.curves import Curve
from mixlab.report.numbers import short


@dataclass(frozen=True, slots=True)
class Glyphs:
    """`fills`: an empty cell, and cells that are ever fuller, each by the same amount."""

    fills: str
    wall: str
    corner: str
    floor: str


BLOCKS = Glyphs(" ▁▂▃▄▅▆▇█", "│", "└", "─")
ASCII = Glyphs(" .:#", "|", "+", "-")


def glyphs_of(encoding: str | None) -> Glyphs:
    """What a stream of this encoding can show; None: nothing is known of it."""
    try:
        "".join((BLOCKS.fills, BLOCKS.wall, BLOCKS.corner, BLOCKS.floor)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def terminal_curve(curve: Curve, *, x: Axis, y: Axis, width: int, height: int = 8, glyphs: Glyphs = BLOCKS) -> str:
    """`width` columns of text wide, and `height` rows high without the title and the axis below. No y is negative.

    A column is the mean of what falls into it; whatever is more than nothing is seen.
    """
    xs, ys = curve
    highest = max(ys)
    labels = [short(highest), "0"]
    margin = max(map(len, labels))
    columns = _columns(ys, width - margin - 2)
    levels = len(glyphs.fills) - 1
    filled = np.ceil(columns / (highest or 1.0) * height * levels - 1e-9).astype(int)
    lines = [y.title]
    for row in reversed(range(height)):
        label = {height - 1: labels[0], 0: labels[1]}.get(row, "")
        cells = "".join(glyphs.fills[level] for level in np.clip(filled - row * levels, 0, levels))
        lines.append(f"{label:>{margin}} {glyphs.wall}{cells}".rstrip())
    lines.append(f"{'':{margin}} {glyphs.corner}{glyphs.floor * len(columns)}")
    first, last = short(xs[0]), short(xs[-1])
    room = len(columns) - len(first) - len(last)
    lines.append(f"{'':{margin}}  {first}{x.title:^{room}}{last}")
    return "".join(f"{line}\n" for line in lines)


def _columns(ys: Sequence[float], width: int) -> np.ndarray:
    """`width` means of neighbours, or each value as often as it takes to fill them."""
    values = np.array(ys, dtype=float)
    starts = np.arange(width) * len(values) // width
    if width >= len(values):
        return values[starts]
    return np.add.reduceat(values, starts) / np.diff(starts, append=len(values))
