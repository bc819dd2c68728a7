"""Plots of a curve as text, with Unicode block characters or ASCII."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixlab.report.axes import Axis
from mixlab.report.curves import Curve
from mixlab.report.numbers import short


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Characters of a plot. `fills` are cells from empty to full in equal steps."""

    fills: str
    wall: str
    corner: str
    floor: str


BLOCKS = Glyphs(" ▁▂▃▄▅▆▇█", "│", "└", "─")
ASCII = Glyphs(" .:#", "|", "+", "-")


def glyphs_of(encoding: str | None) -> Glyphs:
    """The characters that a stream with this encoding can show; ASCII if the encoding is None or unknown."""
    try:
        "".join((BLOCKS.fills, BLOCKS.wall, BLOCKS.corner, BLOCKS.floor)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def terminal_curve(curve: Curve, *, x: Axis, y: Axis, width: int, height: int = 8, glyphs: Glyphs = BLOCKS) -> str:
    """Plot a curve as text, with columns that start at 0.

    curve:  x and y values; y must not be negative.
    width:  total width in characters.
    height: number of rows, without the title and the axis.
    glyphs: the characters to use.

    Each column is the mean of the y values in it. A positive value is never shown as an empty column.
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
    title_width = len(columns) - len(first) - len(last)
    lines.append(f"{'':{margin}}  {first}{x.title:^{title_width}}{last}")
    return "".join(f"{line}\n" for line in lines)


def _columns(ys: Sequence[float], width: int) -> np.ndarray:
    """Resample to `width` values: means of neighbours if there are more values, repeated values if there are fewer."""
    values = np.array(ys, dtype=float)
    starts = np.arange(width) * len(values) // width
    if width >= len(values):
        return values[starts]
    return np.add.reduceat(values, starts) / np.diff(starts, append=len(values))
