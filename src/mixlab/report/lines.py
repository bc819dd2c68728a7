"""Panels with one line of points per name, such as a cost against a size, and their legend."""

from collections.abc import Iterable, Mapping, Sequence
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
from mixlab.report.colours import MUTED, RULE, colour_for, marker_svg, use_css_variables
from mixlab.report.figure import Panel
from mixlab.report.html_text import breakable
from mixlab.report.numbers import short
from mixlab.report.text_width import text_width
from mixlab.stats.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

HEIGHT, _TOP, _LEFT, _RIGHT = 292, 28, 40, 6  # pixels
_LINE = 18  # pixels
_FRONTIER_WIDTH = 7  # pixels
_SPACING = 5  # pixels between the intervals of two lines at the same x

Line = Sequence[tuple[float, Estimate]]
"""Points (x, y), with the interval of y if it has one."""


FRONTIER = "frontier"

SIDE_BY_SIDE = "Points with intervals at the same place are drawn side by side."
"""For the caption of a figure with such points."""


@dataclass(frozen=True, slots=True)
class LineLegend:
    """The names of the lines of a figure with their markers, above its panels.

    shown  the names of the lines, and FRONTIER if the panels have one
    names  all names, which determine the colours and markers
    """

    shown: Sequence[str]
    names: Sequence[str]

    def html(self) -> str:
        items = "".join(f"<li>{self._mark(name)}{breakable(name)}</li>" for name in self.shown)
        return f'<ul class="legend" aria-label="Lines">{items}</ul>'

    def panel(self, width: int) -> Panel:
        places = _places(self.shown, width)
        height = 8 + _LINE * (1 + max(line for line, _ in places.values()))

        def draw(canvas: "Canvas") -> None:
            overlay = add_plot_area(canvas, 0, 0, width, height)
            overlay.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
            for name, (line, left) in places.items():
                middle = 10 + _LINE * line
                if name in self.names:
                    draw_marker(overlay, left + 5, middle, name, self.names, radius=4)
                else:
                    draw_line(overlay, [left + 3, left + 7], [middle] * 2, RULE, _FRONTIER_WIDTH)
                draw_text(canvas, name, left + 14, middle + 4, size=SMALL, colour=MUTED)

        return Panel(width, height, draw, ", ".join(self.shown))

    def _mark(self, name: str) -> str:
        if name in self.names:
            return marker_svg(name, self.names)
        rectangle = f'<rect x="-1.4" y="-0.6" width="2.8" height="1.2" style="fill: {RULE}"/>'
        return use_css_variables(f'<svg class="mark" viewBox="-1.4 -1.4 2.8 2.8" aria-hidden="true">{rectangle}</svg>')


def line_panel(
    lines: Mapping[str, Line],
    x: Axis,
    y: Axis,
    *,
    names: Sequence[str],
    frontier: Sequence[tuple[float, float]] = (),
    beside: Iterable[Mapping[str, Line]] = (),
) -> Panel:
    """A panel with the lines of `lines`. Its figure has a `LineLegend`.

    Points with intervals at the same x are drawn side by side.

    names     all names, which determine the colours and markers
    frontier  the best points, joined by a broad line under the others
    beside    the lines of other panels, which fit onto the y axis as well, so that heights can be compared
    """
    xs = [across for line in lines.values() for across, _ in line]
    ys = [end for of in (lines, *beside) for line in of.values() for _, estimate in line for end in estimate.extent]
    offsets = _offsets(lines)

    def draw(canvas: "Canvas") -> None:
        draw_text(canvas, y.title, 0, 14, size=SMALL, colour=MUTED)
        draw_text(canvas, x.title, PANEL_WIDTH - _RIGHT, HEIGHT - 6, size=SMALL, colour=MUTED, align="right")
        axes = add_plot_area(canvas, _LEFT, _TOP, PANEL_WIDTH - _RIGHT, HEIGHT - 42)
        draw_grid(axes, "both")
        set_x_scale(axes, x, *x.limits(xs))
        set_y_scale(axes, y, *y.limits(ys))
        if frontier:
            across, up = zip(*frontier, strict=True)
            draw_line(axes, across, up, RULE, _FRONTIER_WIDTH)
        for name, line in lines.items():
            colour = colour_for(name, names)
            places = [_moved(axes, across, offsets[name, across]) for across, _ in line]
            draw_line(axes, places, [up.value for _, up in line], colour, 1.4, alpha=0.8)
            for place, (_, up) in zip(places, line, strict=True):
                draw_line(axes, [place, place], list(up.extent), colour, 1.4, alpha=0.6)
                draw_marker(axes, place, up.value, name, names, radius=4)

    ends = "; ".join(f"{name} {short(line[0][1].value)} to {short(line[-1][1].value)}" for name, line in lines.items())
    return Panel(PANEL_WIDTH, HEIGHT, draw, f"{y.title} by {x.title}: {ends}.")


def _places(names: Sequence[str], right: float) -> dict[str, tuple[int, float]]:
    """The line of each entry of a legend that is `right` pixels wide, and its left edge in pixels."""
    places, line, left = {}, 0, 0.0
    for name in names:
        width = 14 + text_width(name, SMALL) + 14
        if left and left + width > right:
            line, left = line + 1, 0.0
        places[name] = (line, left)
        left += width
    return places


def _offsets(lines: Mapping[str, Line]) -> dict[tuple[str, float], float]:
    """How far each point, by the name of its line and its x, is drawn to the right of its x, in pixels."""
    offsets = {(name, across): 0.0 for name, line in lines.items() for across, _ in line}
    for shared in {across for _, across in offsets}:
        there = [name for name, line in lines.items() for across, up in line if across == shared and _has_extent(up)]
        for place, name in enumerate(there):
            offsets[name, shared] = _SPACING * (place - (len(there) - 1) / 2)
    return offsets


def _moved(axes: "Axes", across: float, pixels: float) -> float:
    """The x that is so many pixels of the panel to the right of `across`, on any scale."""
    to_area = axes.transData - axes.transAxes  # from 0 to 1 within the plot area
    bottom, share = axes.get_ylim()[0], pixels / (PANEL_WIDTH - _RIGHT - _LEFT)
    left, height = to_area.transform((across, bottom))
    return float(to_area.inverted().transform((left + share, height))[0])


def _has_extent(estimate: Estimate) -> bool:
    low, high = estimate.extent
    return low < high
