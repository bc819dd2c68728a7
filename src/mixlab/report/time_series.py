"""Courses: panels under one axis of time, each with what was measured while something went on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import TYPE_CHECKING

import numpy as np

from mixlab.report.axes import (
    PANEL_WIDTH,
    SMALL,
    Axis,
    grid,
    heading,
    line,
    plot_area,
    put_mark,
    scale_x,
    scale_y,
    words,
)
from mixlab.report.colours import MUTED, SHADE, colour_of
from mixlab.report.curves import HEIGHT, Curve
from mixlab.report.figure import Figure, Panel
from mixlab.report.numbers import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

POINTS = 240  # that a line is drawn with, about one a pixel and a half
_LINE_HEIGHT = 14


@dataclass(frozen=True, slots=True)
class SeriesPanel:
    """What one panel shows: a line a name, and behind them, in grey, what they are the means of.

    `include`: values that the axis reaches in any case, such as 0.
    """

    axis: Axis
    lines: Mapping[str, Curve]
    background: Curve = ((), ())
    include: Sequence[float] = ()


def time_series(title: str, panels: Sequence[SeriesPanel], *, x: Axis, end: float, caption: str = "") -> Figure:
    """From 0 to `end` of `x`; each line says its last value, and a long one is thinned."""
    return Figure(title, [_panel(course, x, end) for course in panels], caption)


def power_of_ten(label: str, curve: Curve) -> SeriesPanel:
    """A course whose values are far from 1, in units of a power of ten."""
    xs, ys = curve
    power = floor(log10(max(ys))) if max(ys) > 0 else 0
    unit = "" if power == 0 else "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return SeriesPanel(Axis(label, unit), {"rate": (xs, [y / 10.0**power for y in ys])}, include=(0,))


def thinned(curve: Curve, points: int = POINTS) -> Curve:
    """At most `points` means of neighbours; what is no number is left out, and so drawn through."""
    values = np.array(curve, dtype=float)
    values = values[:, np.isfinite(values[1])]
    found = values.shape[1]
    if found > points:
        starts = np.arange(points) * found // points
        values = np.add.reduceat(values, starts, axis=1) / np.diff(starts, append=found)
    xs, ys = values.tolist()
    return xs, ys


def _panel(course: SeriesPanel, x: Axis, end: float) -> Panel:
    y, names = course.axis, list(course.lines)
    background = thinned(course.background)
    lines = {name: curve for name, one in course.lines.items() if (curve := thinned(one))[0]}
    drawn = [value for _, ys in (*lines.values(), background) for value in ys]
    lasts = {name: one[1][-1] for name, one in lines.items()}
    digits = y.decimals(lasts.values() if y.scale == "log" else drawn)
    finals = {name: number(last, digits) for name, last in lasts.items()}

    def draw(canvas: "Canvas") -> None:
        for name, left in zip(names, (0, PANEL_WIDTH // 2), strict=False):
            if len(names) > 1:
                heading(canvas, name, names, 34, left)
        words(canvas, y.title, 0, 15, weight="bold")
        axes = plot_area(canvas, 42, 48, PANEL_WIDTH - 44, HEIGHT - 38)
        grid(axes, "y")
        scale_x(axes, x, 0, end)
        scale_y(axes, y, *y.limits((*drawn, *course.include), margin=0.04))
        line(axes, *background, SHADE, 0.75)
        ends = []
        for name, (xs, ys) in lines.items():
            line(axes, xs, ys, colour_of(name, names), 1.4)
            put_mark(axes, xs[-1], ys[-1], name, names, radius=3)
            across, up = axes.transData.transform((xs[-1], ys[-1]))
            ends.append((HEIGHT - up + 4, across + 7, finals[name]))
        words(canvas, x.title, PANEL_WIDTH - 44, HEIGHT - 4, size=SMALL, colour=MUTED, align="right")
        for baseline, left, text in _apart(ends):
            words(canvas, text, left, baseline)

    said = ", ".join(f"{name} {final}" if len(names) > 1 else final for name, final in finals.items())
    return Panel(PANEL_WIDTH, HEIGHT, draw, f"{y.title} by {x.label.lower()}: {said or 'nothing yet'} at the end.")


def _apart(ends: Sequence[tuple[float, float, str]]) -> Iterator[tuple[float, float, str]]:
    """Labels by their baselines, the lower ones moved down where they would touch the one above."""
    above = float("-inf")
    for baseline, left, text in sorted(ends):
        above = max(baseline, above + _LINE_HEIGHT)
        yield above, left, text
