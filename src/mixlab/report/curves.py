"""Learning curves: a panel a model, every seed a thin line, the other models' means behind it in grey."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

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
from mixlab.report.figure import Figure, Panel
from mixlab.report.numbers import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Curve = tuple[Sequence[float], Sequence[float]]  # x, y

HEIGHT = 248


def learning_curves(
    title: str, curves: Mapping[str, Sequence[Curve]], *, models: Sequence[str], x: Axis, y: Axis, caption: str = ""
) -> Figure:
    """`curves`: one curve a seed for each model. All panels share their axes and say the mean of the last values."""

    def panel(name: str) -> Panel:
        def draw(canvas: "Canvas") -> None:
            heading(canvas, name, models, 15)
            words(canvas, y.title, 0, 34, size=SMALL, colour=MUTED)
            axes = plot_area(canvas, 34, 48, PANEL_WIDTH - 44, HEIGHT - 38)
            grid(axes, "y")
            scale_x(axes, x, *x.limits((value for xs, _ in everything for value in xs), margin=0))
            scale_y(axes, y, *y.limits((value for _, ys in everything for value in ys), margin=0.04))
            for other in curves:
                if other != name:
                    line(axes, *_mean(curves[other]), SHADE, 0.75)
            for xs, ys in curves[name]:
                line(axes, xs, ys, colour_of(name, models), 1.4, alpha=0.85)
                put_mark(axes, xs[-1], ys[-1], name, models, radius=3)
            words(canvas, x.title, PANEL_WIDTH - 44, HEIGHT - 4, size=SMALL, colour=MUTED, align="right")
            _, up = axes.transData.transform((axes.get_xlim()[1], last(name)))
            words(canvas, final(name), PANEL_WIDTH - 37, HEIGHT - up + 4)

        alt = f"{name}: {y.title} by {x.label.lower()}, n = {len(curves[name])} seeds, {final(name)} at the end."
        return Panel(PANEL_WIDTH, HEIGHT, draw, alt)

    def last(name: str) -> float:
        return fmean(ys[-1] for _, ys in curves[name])

    def final(name: str) -> str:
        return number(last(name), y.decimals(map(last, curves)))

    everything = [curve for seeds in curves.values() for curve in seeds]
    return Figure(title, [panel(name) for name in curves], caption)


def _mean(curves: Sequence[Curve]) -> Curve:
    """Point by point, as far as the shortest goes."""
    (xs, *_), ys = zip(*curves, strict=True)
    means = [fmean(values) for values in zip(*ys, strict=False)]
    return xs[: len(means)], means
