"""Accuracy versus cost: one labelled point with intervals per model, and one panel per cost."""

from collections.abc import Mapping, Sequence
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
from mixlab.report.colours import MUTED, colour_for
from mixlab.report.figure import Figure, Panel
from mixlab.report.label_placement import Box, Cross, place_labels
from mixlab.report.numbers import format_estimate, number
from mixlab.report.text_width import shorten
from mixlab.stats.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

HEIGHT = 320
NAME_CELLS = 18  # width in terminal cells; longer names are shortened
FRAME = Box(left=38, top=30, right=PANEL_WIDTH - 6, bottom=HEIGHT - 42)


def trade_off(
    title: str,
    quality: Mapping[str, Estimate],
    y: Axis,
    costs: Mapping[Axis, Mapping[str, Estimate]],
    *,
    models: Sequence[str],
    caption: str = "",
) -> Figure:
    """A figure with one panel per cost and intervals in both directions.

    quality: estimate on the y axis for each model.
    costs:   for each x axis, the estimate for each model. The axis is logarithmic if the values span a decade.
    models:  all model names, which determine the colours.
    """
    panels = [
        _panel({name: (cost, quality[name]) for name, cost in measured.items()}, x, y, models)
        for x, measured in costs.items()
    ]
    return Figure(title, panels, caption)


def _panel(points: Mapping[str, tuple[Estimate, Estimate]], x: Axis, y: Axis, models: Sequence[str]) -> Panel:
    across = [value for cost, _ in points.values() for value in cost.extent]
    upwards = [value for _, gain in points.values() for value in gain.extent]
    x = x.logarithmic_over_a_decade(across)

    def draw(canvas: "Canvas") -> None:
        draw_text(canvas, y.title, 0, 14, size=SMALL, colour=MUTED)
        draw_text(canvas, x.title_with_arrow(), FRAME.right, HEIGHT - 6, size=SMALL, colour=MUTED, align="right")
        axes = add_plot_area(canvas, FRAME.left, FRAME.top, FRAME.right, FRAME.bottom)
        draw_grid(axes, "both")
        set_x_scale(axes, x, *x.limits(across, margin=0.14))
        set_y_scale(axes, y, *y.limits(upwards))
        crosses = []
        for name, (cost, gain) in points.items():
            colour = colour_for(name, models)
            (left, right), (low, high) = cost.extent, gain.extent
            draw_line(axes, [left, right], [gain.value] * 2, colour, 1.4, alpha=0.6)
            draw_line(axes, [cost.value] * 2, [low, high], colour, 1.4, alpha=0.6)
            draw_marker(axes, cost.value, gain.value, name, models)
            span = Box(*_pixels(axes, left, high), *_pixels(axes, right, low))
            crosses.append(Cross(_pixels(axes, cost.value, gain.value), span))
        texts = [shorten(name, NAME_CELLS) for name in points]
        labels = place_labels(crosses, texts, FRAME)
        for name, text, cross, label in zip(points, texts, crosses, labels, strict=True):
            if label.distance:
                ends = [(x, HEIGHT - y) for x, y in (cross.point, label.leader(cross.point))]
                xs, ys = axes.transData.inverted().transform(ends).T
                draw_line(axes, xs, ys, colour_for(name, models), 0.75)
            draw_text(canvas, text, *label.start)

    fine, coarse = y.decimals(upwards), x.decimals(across)
    measures = (
        f"{name} {format_estimate(gain, fine)} at {number(cost.value, coarse)}" for name, (cost, gain) in points.items()
    )
    return Panel(PANEL_WIDTH, HEIGHT, draw, f"{y.title} against {x.title}: {'; '.join(measures)}.")


def _pixels(axes: "Axes", x: float, y: float) -> tuple[float, float]:
    across, up = axes.transData.transform((x, y))
    return float(across), HEIGHT - float(up)
