"""Scatter plots of many models: markers by group, and labels for some of the points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixlab.report.axes import (
    PANEL_WIDTH,
    SMALL,
    Axis,
    add_plot_area,
    draw_grid,
    draw_line,
    draw_marker,
    draw_text,
    set_x_scale,
    set_y_scale,
)
from mixlab.report.colours import INK, MUTED
from mixlab.report.figure import Panel
from mixlab.report.label_placement import Box, Cross, place_labels
from mixlab.report.numbers import number
from mixlab.report.text_width import text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

HEIGHT = 360
FRAME = Box(left=38, top=52, right=PANEL_WIDTH - 18, bottom=HEIGHT - 42)
_LEGEND_LINE = 32  # pixels from the top


@dataclass(frozen=True, slots=True)
class Point:
    """A point with a name and a group; the name is written beside it if `is_labelled`."""

    name: str
    group: str
    x: float
    y: float
    is_labelled: bool


def scatter_panel(points: Sequence[Point], x: Axis, y: Axis, groups: Sequence[str]) -> Panel:
    """A panel with one marker per point; `groups` determines colours and shapes, and is the legend.

    The x axis is logarithmic if the values span a decade.
    """
    xs, ys = [point.x for point in points], [point.y for point in points]
    x = x.logarithmic_over_a_decade(xs)

    def draw(canvas: "Canvas") -> None:
        draw_text(canvas, y.title, 0, 14, size=SMALL, colour=MUTED)
        draw_text(canvas, x.title_with_arrow(), FRAME.right, HEIGHT - 6, size=SMALL, colour=MUTED, align="right")
        _draw_legend(canvas, [group for group in groups if any(point.group == group for point in points)], groups)
        axes = add_plot_area(canvas, FRAME.left, FRAME.top, FRAME.right, FRAME.bottom)
        draw_grid(axes, "both")
        set_x_scale(axes, x, *x.limits(xs, margin=0.14))
        set_y_scale(axes, y, *y.limits(ys))
        for point in points:
            draw_marker(axes, point.x, point.y, point.group, groups, radius=5 if point.is_labelled else 4)
        _draw_labels(canvas, axes, points)

    digits = x.decimals(xs)
    measures = (f"{point.name} {number(point.y, y.decimals(ys))} at {number(point.x, digits)}" for point in points)
    return Panel(PANEL_WIDTH, HEIGHT, draw, f"{y.title} against {x.title}: {'; '.join(measures)}.")


def _draw_legend(canvas: "Canvas", shown: Sequence[str], groups: Sequence[str]) -> None:
    overlay = add_plot_area(canvas, 0, 0, PANEL_WIDTH, HEIGHT)
    overlay.set(xlim=(0, PANEL_WIDTH), ylim=(HEIGHT, 0), xticks=[], yticks=[])
    left = FRAME.left
    for group in shown:
        draw_marker(overlay, left, _LEGEND_LINE - 4, group, groups, radius=4)
        draw_text(canvas, group, left + 8, _LEGEND_LINE, size=SMALL, colour=MUTED)
        left += 24 + text_width(group, SMALL)


def _draw_labels(canvas: "Canvas", axes: "Axes", points: Sequence[Point]) -> None:
    """Place the labels of the labelled points, away from all markers."""
    crosses = {point: _cross(axes, point) for point in sorted(points, key=lambda point: not point.is_labelled)}
    labelled = [point for point in crosses if point.is_labelled]
    texts = [point.name if point.is_labelled else "" for point in crosses]
    labels = place_labels(list(crosses.values()), texts, FRAME)
    for point, label in zip(labelled, labels, strict=False):
        if label.distance:
            ends = [
                (across, HEIGHT - down) for across, down in (crosses[point].point, label.leader(crosses[point].point))
            ]
            line_xs, line_ys = axes.transData.inverted().transform(ends).T
            draw_line(axes, line_xs, line_ys, INK, 0.75)
        draw_text(canvas, point.name, *label.start, size=SMALL)


def _cross(axes: "Axes", point: Point) -> Cross:
    across, up = axes.transData.transform((point.x, point.y))
    at = (float(across), HEIGHT - float(up))
    return Cross(at, Box(*at, *at))
