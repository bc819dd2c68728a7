"""What accuracy costs: models as labelled points with their intervals, a panel a cost."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mixlab.report.axes import PANEL_WIDTH, SMALL, Axis, grid, line, plot_area, put_mark, scale_x, scale_y, words
from mixlab.report.colours import MUTED, colour_of
from mixlab.report.figure import Figure, Panel
from mixlab.report.label_placement import Box, Cross, place_labels, shortened
from mixlab.report.numbers import number, written
from mixlab.stats.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

HEIGHT = 320
NAME_CELLS = 18  # of a terminal's grid; longer names are shortened
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
    """A panel for each of `costs`, its axis logarithmic where the values span a decade; intervals go both ways."""
    panels = [
        _panel({name: (cost, quality[name]) for name, cost in measured.items()}, x, y, models)
        for x, measured in costs.items()
    ]
    return Figure(title, panels, caption)


def _panel(points: Mapping[str, tuple[Estimate, Estimate]], x: Axis, y: Axis, models: Sequence[str]) -> Panel:
    across = [value for cost, _ in points.values() for value in _extent(cost)]
    upwards = [value for _, gain in points.values() for value in _extent(gain)]
    x = x.logarithmic_over_a_decade(across)

    def draw(canvas: "Canvas") -> None:
        words(canvas, y.title, 0, 14, size=SMALL, colour=MUTED)
        words(canvas, x.pointing(), FRAME.right, HEIGHT - 6, size=SMALL, colour=MUTED, align="right")
        axes = plot_area(canvas, FRAME.left, FRAME.top, FRAME.right, FRAME.bottom)
        grid(axes, "both")
        scale_x(axes, x, *x.limits(across, margin=0.14))
        scale_y(axes, y, *y.limits(upwards))
        crosses = []
        for name, (cost, gain) in points.items():
            colour = colour_of(name, models)
            (left, right), (low, high) = _extent(cost), _extent(gain)
            line(axes, [left, right], [gain.value] * 2, colour, 1.4, alpha=0.6)
            line(axes, [cost.value] * 2, [low, high], colour, 1.4, alpha=0.6)
            put_mark(axes, cost.value, gain.value, name, models)
            span = Box(*_pixels(axes, left, high), *_pixels(axes, right, low))
            crosses.append(Cross(_pixels(axes, cost.value, gain.value), span))
        texts = [shortened(name, NAME_CELLS) for name in points]
        labels = place_labels(crosses, texts, FRAME)
        for name, text, cross, label in zip(points, texts, crosses, labels, strict=True):
            if label.distance:
                ends = [(x, HEIGHT - y) for x, y in (cross.point, label.leader(cross.point))]
                xs, ys = axes.transData.inverted().transform(ends).T
                line(axes, xs, ys, colour_of(name, models), 0.75)
            words(canvas, text, *label.start)

    fine, coarse = y.decimals(upwards), x.decimals(across)
    measures = (
        f"{name} {written(gain, fine)} at {number(cost.value, coarse)}" for name, (cost, gain) in points.items()
    )
    return Panel(PANEL_WIDTH, HEIGHT, draw, f"{y.title} against {x.title}: {'; '.join(measures)}.")


def _extent(estimate: Estimate) -> tuple[float, float]:
    if estimate.low is None or estimate.high is None:
        return estimate.value, estimate.value
    return estimate.low, estimate.high


def _pixels(axes: "Axes", x: float, y: float) -> tuple[float, float]:
    across, up = axes.transData.transform((x, y))
    return float(across), HEIGHT - float(up)
