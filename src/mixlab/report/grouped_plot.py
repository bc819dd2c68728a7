"""Grouped plots: one estimate with its interval for each series in each group, such as models by kind of image."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING

from mixlab.report.axes import (
    PANEL_WIDTH,
    SMALL,
    TEXT,
    Axis,
    add_plot_area,
    draw_grid,
    draw_line,
    draw_marker,
    draw_text,
    set_y_scale,
)
from mixlab.report.colours import MUTED, RAISED, RULE, colour_for
from mixlab.report.figure import Figure, Panel
from mixlab.report.numbers import format_estimate, number
from mixlab.report.text_width import fit_names, text_width, wrap_words
from mixlab.stats.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WIDTH = 2 * PANEL_WIDTH
_PLOT_HEIGHT, _LEGEND_ROW, _LABEL_ROW = 300, 20, 15
_LEFT, _RIGHT = 34, WIDTH - 8
_SPREAD = 0.72
"""The width of the points of a group, relative to the distance of two groups."""


def grouped_plot(
    title: str,
    estimates: Mapping[str, Mapping[str, Estimate]],
    axis: Axis,
    *,
    names: Sequence[str] | None = None,
    line: tuple[str, float] | None = None,
    caption: str = "",
) -> Figure:
    """A figure with one panel of the width of a page.

    estimates  by series and group; a series may lack some of the groups
    axis       of the values
    names      all names, which determine the colours and markers; None: the series
    line       the name and the value of a horizontal line, such as chance, which the caption states; it is drawn if it
               is within the range of the estimates
    """
    if line:
        value = f"{number(line[1], axis.decimals([line[1]]))} {axis.unit}".rstrip()
        caption = f"{caption} {line[0].capitalize()} is {value}.".lstrip()
    return Figure(title, [_panel(estimates, axis, names or list(estimates), line)], caption)


def _panel(
    estimates: Mapping[str, Mapping[str, Estimate]],
    axis: Axis,
    names: Sequence[str],
    line: tuple[str, float] | None,
) -> Panel:
    groups = list(dict.fromkeys(group for of_series in estimates.values() for group in of_series))
    slot = (_RIGHT - _LEFT) / len(groups)
    labels = {group: wrap_words(group, slot - 8) for group in groups}
    legend = _legend(list(estimates))
    top = _LEGEND_ROW * len(legend) + 26
    bottom = top + _PLOT_HEIGHT
    height = bottom + 10 + _LABEL_ROW * max(map(len, labels.values()))
    values = [end for of_series in estimates.values() for one in of_series.values() for end in one.extent]
    low, high = axis.limits(values)

    def draw(canvas: "Canvas") -> None:
        overlay = add_plot_area(canvas, 0, 0, WIDTH, height)
        overlay.set(xlim=(0, WIDTH), ylim=(height, 0), xticks=[], yticks=[])
        for row, places in enumerate(legend):
            for name, left in places.items():
                draw_marker(overlay, left + 6, 10 + _LEGEND_ROW * row, name, names)
                draw_text(canvas, fit_names([name], WIDTH / 2), left + 16, 14 + _LEGEND_ROW * row)
        draw_text(canvas, axis.title, 0, top - 10, size=SMALL, colour=MUTED)
        axes = add_plot_area(canvas, _LEFT, top, _RIGHT, bottom)
        axes.set(xlim=(0, len(groups)), xticks=[])
        for place in range(0, len(groups), 2):
            axes.axvspan(place, place + 1, color=RAISED, linewidth=0, zorder=0)
        set_y_scale(axes, axis, low, high)
        draw_grid(axes, "y")
        if line and low <= line[1] <= high:
            draw_line(axes, [0, len(groups)], [line[1]] * 2, RULE, 2)
            _, above = axes.transData.transform((0, line[1]))
            draw_text(canvas, line[0], _RIGHT - 4, height - above - 4, size=SMALL, colour=MUTED, align="right")
        for index, (name, of_series) in enumerate(estimates.items()):
            shift = 0.5 + _SPREAD * ((index + 0.5) / len(estimates) - 0.5)
            colour = colour_for(name, names)
            for group, estimate in of_series.items():
                place = groups.index(group) + shift
                draw_line(axes, [place] * 2, estimate.extent, colour, 2, alpha=0.7)
                draw_marker(axes, place, estimate.value, name, names)
        for place, group in enumerate(groups):
            for row, text in enumerate(labels[group]):
                baseline = bottom + 18 + _LABEL_ROW * row
                draw_text(canvas, text, _LEFT + slot * (place + 0.5), baseline, size=TEXT, align="center")

    digits = axis.decimals(values)
    texts = (
        f"{name}: {', '.join(f'{group} {format_estimate(one, digits)}' for group, one in of_series.items())}"
        for name, of_series in estimates.items()
    )
    return Panel(WIDTH, ceil(height), draw, f"{axis.title}. {'; '.join(texts)}.")


def _legend(names: Sequence[str]) -> list[dict[str, float]]:
    """The names of each row of the legend, with the left edge of their markers in pixels."""
    rows: list[dict[str, float]] = [{}]
    left = 0.0
    for name in names:
        width = 34 + min(text_width(name), WIDTH / 2)
        if rows[-1] and left + width > WIDTH:
            rows.append({})
            left = 0.0
        rows[-1][name] = left
        left += width
    return rows
