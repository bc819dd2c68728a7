"""Time series: panels with the same time axis, one per measured quantity."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import TYPE_CHECKING

import numpy as np

from mixlab.report.axes import (
    PANEL_WIDTH,
    SMALL,
    Axis,
    add_plot_area,
    draw_grid,
    draw_heading,
    draw_line,
    draw_marker,
    draw_text,
    set_x_scale,
    set_y_scale,
)
from mixlab.report.colours import MUTED, SHADE, colour_for
from mixlab.report.curves import HEIGHT, Curve
from mixlab.report.figure import Figure, Panel
from mixlab.report.numbers import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MAX_POINTS = 240  # of a line, about one per 1.5 pixels
_LINE_HEIGHT = 14


@dataclass(frozen=True, slots=True)
class SeriesPanel:
    """Content of one panel.

    axis        the y axis
    lines       curves by name
    background  a curve in grey behind the lines, such as the values that the lines are means of
    include     values that the y axis must contain, such as 0
    """

    axis: Axis
    lines: Mapping[str, Curve]
    background: Curve = ((), ())
    include: Sequence[float] = ()


def time_series(title: str, panels: Sequence[SeriesPanel], *, x: Axis, end: float, caption: str = "") -> Figure:
    """A figure with one plot per panel and x axes from 0 to `end`.

    Each line is labelled with its last value. Long lines are downsampled.
    """
    return Figure(title, [_panel(panel, x, end) for panel in panels], caption)


def power_of_ten(label: str, curve: Curve) -> SeriesPanel:
    """A panel for values far from 1, in units of a power of ten."""
    xs, ys = curve
    power = floor(log10(max(ys))) if max(ys) > 0 else 0
    unit = "" if power == 0 else "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return SeriesPanel(Axis(label, unit), {"rate": (xs, [y / 10.0**power for y in ys])}, include=(0,))


def downsample(curve: Curve, points: int = MAX_POINTS) -> Curve:
    """Reduce a curve to at most `points` means of neighbours. NaN and infinite values are removed."""
    values = np.array(curve, dtype=float)
    values = values[:, np.isfinite(values[1])]
    count = values.shape[1]
    if count > points:
        starts = np.arange(points) * count // points
        values = np.add.reduceat(values, starts, axis=1) / np.diff(starts, append=count)
    xs, ys = values.tolist()
    return xs, ys


def _panel(series: SeriesPanel, x: Axis, end: float) -> Panel:
    y, names = series.axis, list(series.lines)
    background = downsample(series.background)
    lines = {name: curve for name, line in series.lines.items() if (curve := downsample(line))[0]}
    shown_values = [value for _, ys in (*lines.values(), background) for value in ys]
    last_values = {name: ys[-1] for name, (_, ys) in lines.items()}
    digits = y.decimals(last_values.values() if y.scale == "log" else shown_values)
    finals = {name: number(last, digits) for name, last in last_values.items()}

    def draw(canvas: "Canvas") -> None:
        for name, left in zip(names, (0, PANEL_WIDTH // 2), strict=False):
            if len(names) > 1:
                draw_heading(canvas, name, names, 34, left)
        draw_text(canvas, y.title, 0, 15, weight="bold")
        axes = add_plot_area(canvas, 42, 48, PANEL_WIDTH - 44, HEIGHT - 38)
        draw_grid(axes, "y")
        set_x_scale(axes, x, 0, end)
        set_y_scale(axes, y, *y.limits((*shown_values, *series.include), margin=0.04))
        draw_line(axes, *background, SHADE, 0.75)
        ends = []
        for name, (xs, ys) in lines.items():
            draw_line(axes, xs, ys, colour_for(name, names), 1.4)
            draw_marker(axes, xs[-1], ys[-1], name, names, radius=3)
            across, up = axes.transData.transform((xs[-1], ys[-1]))
            ends.append((HEIGHT - up + 4, across + 7, finals[name]))
        draw_text(canvas, x.title, PANEL_WIDTH - 44, HEIGHT - 4, size=SMALL, colour=MUTED, align="right")
        for baseline, left, text in _separate_labels(ends):
            draw_text(canvas, text, left, baseline)

    final_text = ", ".join(f"{name} {final}" if len(names) > 1 else final for name, final in finals.items())
    return Panel(
        PANEL_WIDTH, HEIGHT, draw, f"{y.title} by {x.label.lower()}: {final_text or 'no values yet'} at the end."
    )


def _separate_labels(ends: Sequence[tuple[float, float, str]]) -> Iterator[tuple[float, float, str]]:
    """(baseline, left, text) of labels from top to bottom, moved down where they would overlap the label above."""
    above = float("-inf")
    for baseline, left, text in sorted(ends):
        above = max(baseline, above + _LINE_HEIGHT)
        yield above, left, text
