"""A panel with one line of points per name, such as a cost against a size, and a legend."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

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
from mixlab.report.colours import MUTED, RULE, colour_for
from mixlab.report.figure import Panel
from mixlab.report.numbers import short
from mixlab.stats.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

HEIGHT = 264  # pixels, without the legend
_LINE = 18  # pixels
_LETTER = 6.2  # pixels
_FRONTIER_WIDTH = 7  # pixels

Line = Sequence[tuple[float, Estimate]]
"""Points (x, y), with the interval of y if it has one."""


FRONTIER = "frontier"


def line_panel(
    lines: Mapping[str, Line],
    x: Axis,
    y: Axis,
    *,
    names: Sequence[str],
    frontier: Sequence[tuple[float, float]] = (),
) -> Panel:
    """A panel with the lines of `lines`.

    names     all names, which determine the colours and markers
    frontier  the best points, joined by a broad line under the others
    """
    xs = [across for line in lines.values() for across, _ in line]
    ys = [end for line in lines.values() for _, estimate in line for end in _extent(estimate)]
    places = _legend([*lines, *([FRONTIER] if frontier else [])])
    top = 40 + _LINE * (1 + max(line for line, _ in places.values()))
    height = HEIGHT + top

    def draw(canvas: "Canvas") -> None:
        overlay = add_plot_area(canvas, 0, 0, PANEL_WIDTH, height)
        overlay.set(xlim=(0, PANEL_WIDTH), ylim=(height, 0), xticks=[], yticks=[])
        for name, (line, left) in places.items():
            if name in lines:
                draw_marker(overlay, left + 5, 10 + _LINE * line, name, names, radius=4)
            else:
                draw_line(overlay, [left + 3, left + 7], [10 + _LINE * line] * 2, RULE, _FRONTIER_WIDTH)
            draw_text(canvas, name, left + 14, 14 + _LINE * line, size=SMALL, colour=MUTED)
        draw_text(canvas, y.title, 0, top - 14, size=SMALL, colour=MUTED)
        draw_text(canvas, x.title, PANEL_WIDTH - 6, height - 6, size=SMALL, colour=MUTED, align="right")
        axes = add_plot_area(canvas, 40, top, PANEL_WIDTH - 6, height - 42)
        draw_grid(axes, "both")
        set_x_scale(axes, x, *x.limits(xs))
        set_y_scale(axes, y, *y.limits(ys))
        if frontier:
            across, up = zip(*frontier, strict=True)
            draw_line(axes, across, up, RULE, _FRONTIER_WIDTH)
        for name, line in lines.items():
            colour = colour_for(name, names)
            draw_line(axes, [across for across, _ in line], [up.value for _, up in line], colour, 1.4, alpha=0.8)
            for across, up in line:
                draw_line(axes, [across, across], list(_extent(up)), colour, 1.4, alpha=0.6)
                draw_marker(axes, across, up.value, name, names, radius=4)

    ends = "; ".join(f"{name} {short(line[0][1].value)} to {short(line[-1][1].value)}" for name, line in lines.items())
    return Panel(PANEL_WIDTH, height, draw, f"{y.title} by {x.title}: {ends}.")


def _legend(names: Sequence[str]) -> dict[str, tuple[int, float]]:
    """The line of each entry of the legend, and its left edge in pixels."""
    places, line, left = {}, 0, 0.0
    for name in names:
        width = 14 + _LETTER * cell_len(name) + 14
        if left and left + width > PANEL_WIDTH:
            line, left = line + 1, 0.0
        places[name] = (line, left)
        left += width
    return places


def _extent(estimate: Estimate) -> tuple[float, float]:
    if estimate.low is None or estimate.high is None:
        return estimate.value, estimate.value
    return estimate.low, estimate.high
