"""Learning curves: one panel per model, one line per seed, and the means of the other models in grey."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

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
from mixlab.report.figure import Figure, Panel
from mixlab.report.numbers import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Curve = tuple[Sequence[float], Sequence[float]]
"""(x values, y values)."""

HEIGHT = 248


def learning_curves(
    title: str, curves: Mapping[str, Sequence[Curve]], *, models: Sequence[str], x: Axis, y: Axis, caption: str = ""
) -> Figure:
    """A figure with one panel per model. All panels have the same axes.

    curves: for each model, one curve per seed. Each panel states the mean of the last values.
    models: all model names, which determine the colours.
    """

    def panel(name: str) -> Panel:
        def draw(canvas: "Canvas") -> None:
            draw_heading(canvas, name, models, 15)
            draw_text(canvas, y.title, 0, 34, size=SMALL, colour=MUTED)
            axes = add_plot_area(canvas, 34, 48, PANEL_WIDTH - 44, HEIGHT - 38)
            draw_grid(axes, "y")
            set_x_scale(axes, x, *x.limits((value for xs, _ in everything for value in xs), margin=0))
            set_y_scale(axes, y, *y.limits((value for _, ys in everything for value in ys), margin=0.04))
            for other in curves:
                if other != name:
                    draw_line(axes, *_mean(curves[other]), SHADE, 0.75)
            for xs, ys in curves[name]:
                draw_line(axes, xs, ys, colour_for(name, models), 1.4, alpha=0.85)
                draw_marker(axes, xs[-1], ys[-1], name, models, radius=3)
            draw_text(canvas, x.title, PANEL_WIDTH - 44, HEIGHT - 4, size=SMALL, colour=MUTED, align="right")
            across, up = axes.transData.transform((max(xs[-1] for xs, _ in curves[name]), last(name)))
            draw_text(canvas, final(name), across + 7, HEIGHT - up + 4)

        alt = f"{name}: {y.title} by {x.label.lower()}, n = {len(curves[name])} seeds, {final(name)} at the end."
        return Panel(PANEL_WIDTH, HEIGHT, draw, alt)

    def last(name: str) -> float:
        return fmean(ys[-1] for _, ys in curves[name])

    def final(name: str) -> str:
        return number(last(name), y.decimals(map(last, curves)))

    everything = [curve for seeds in curves.values() for curve in seeds]
    return Figure(title, [panel(name) for name in curves], caption)


def _mean(curves: Sequence[Curve]) -> Curve:
    """Pointwise mean, up to the length of the shortest curve."""
    (xs, *_), ys = zip(*curves, strict=True)
    means = [fmean(values) for values in zip(*ys, strict=False)]
    return xs[: len(means)], means
