"""Estimates in rows with their intervals: accuracies of models, differences of pairs, shares of classes."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from mixlab.report.axes import PANEL_WIDTH, SMALL, TEXT, Axis, line, plot_area, put_mark, put_shape, scale_x, words
from mixlab.report.colours import GROUND, INK, MUTED, RAISED, RULE, SHAPES, colour_of
from mixlab.report.figure import Figure, Panel
from mixlab.report.label_placement import fitted, text_width
from mixlab.report.numbers import number, written
from mixlab.stats.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.patches import Rectangle

ROW = 42  # a line of type, and under it the interval
INTERVAL = 28  # from a row's top to its interval
STRIP = 8  # pixels above and below the interval that the axis' lines take, so that none runs through a name
LEFT, RIGHT = 8, PANEL_WIDTH - 8
DISC = SHAPES[0]
ROWS_PER_PANEL = 22

Draw = Callable[["Axes", "_Row", float], None]


@dataclass(frozen=True, slots=True)
class _Row:
    """What the estimate is of: one thing, or one minus another."""

    names: tuple[str, ...]
    estimate: Estimate

    @property
    def label(self) -> str:
        return " − ".join(self.names)


def dot_plot(
    title: str,
    values: Mapping[str, Sequence[float]],
    estimates: Mapping[str, Estimate],
    axis: Axis,
    *,
    models: Sequence[str],
    baselines: Mapping[str, Estimate] | None = None,
    caption: str = "",
) -> Figure:
    """The mean with its interval, under it every seed's value as a small mark; `baselines` are vertical lines."""

    def draw_row(axes: "Axes", row: _Row, y: float) -> None:
        (name,) = row.names
        for value in values[name]:
            put_mark(axes, value, y + 6, name, models, radius=3.5, alpha=0.6)
        _interval(axes, row.estimate, y - 3, colour_of(name, models), 2)
        put_mark(axes, row.estimate.value, y - 3, name, models, radius=5.5)

    rows = [_Row((name,), estimate) for name, estimate in estimates.items()]
    seeds = [value for points in values.values() for value in points]
    return Figure(title, _panels(rows, axis, draw_row, also=seeds, baselines=baselines or {}), caption)


def pair_forest_plot(
    title: str,
    differences: Mapping[tuple[str, str], Estimate],
    axis: Axis,
    *,
    significant: Collection[tuple[str, str]],
    detectable: float | None = None,
    caption: str = "",
) -> Figure:
    """The difference a − b of each pair (a, b); those that were told apart are drawn strong.

    `detectable`: smaller differences may well escape such a set-up; drawn as a band around zero.
    """

    def draw_row(axes: "Axes", row: _Row, y: float) -> None:
        if detectable is not None:
            axes.add_artist(_band(detectable, y))
        line(axes, [0, 0], [y - STRIP, y + STRIP], INK, 1)
        told = row.names in significant
        _interval(axes, row.estimate, y, INK if told else MUTED, 2 if told else 1.2)
        face, edge = (INK, INK) if told else (GROUND, MUTED)
        put_shape(axes, row.estimate.value, y, DISC, face=face, edge=edge, radius=4.5)

    rows = [_Row(pair, difference) for pair, difference in differences.items()]
    if detectable is not None:
        smallest = number(detectable, axis.decimals([detectable]))
        caption += f" In the band lie differences under {smallest} {axis.unit}: they may well stay hidden here."
    also = [0.0] if detectable is None else [-detectable, detectable]
    return Figure(title, _panels(rows, axis, draw_row, also=also, baselines={}), caption.strip())


def forest_plot(title: str, estimates: Mapping[str, Estimate], axis: Axis, *, caption: str = "") -> Figure:
    """Estimates of anything but models, such as classes: a point and its interval a row."""

    def draw_row(axes: "Axes", row: _Row, y: float) -> None:
        _interval(axes, row.estimate, y, MUTED, 1.2)
        put_shape(axes, row.estimate.value, y, DISC, face=INK, edge=GROUND, radius=4.5)

    rows = [_Row((name,), estimate) for name, estimate in estimates.items()]
    return Figure(title, _panels(rows, axis, draw_row, also=[], baselines={}), caption)


def _panels(
    rows: Sequence[_Row], axis: Axis, draw_row: Draw, *, also: Iterable[float], baselines: Mapping[str, Estimate]
) -> list[Panel]:
    """As many as it takes, of about equal height and with one axis.

    `also`: what the axis must hold besides the rows; yardsticks it holds where they are near.
    """
    estimates = [row.estimate for row in rows]
    reach = _in_reach([*_ends(estimates), *also], [baseline.value for baseline in baselines.values()])
    digits = axis.decimals(estimate.value for estimate in estimates)
    size = ceil(len(rows) / ceil(len(rows) / ROWS_PER_PANEL))
    return [
        _panel(rows[start : start + size], axis, axis.limits(reach), digits, draw_row, baselines)
        for start in range(0, len(rows), size)
    ]


def _panel(
    rows: Sequence[_Row],
    axis: Axis,
    limits: tuple[float, float],
    digits: int,
    draw_row: Draw,
    baselines: Mapping[str, Estimate],
) -> Panel:
    top = 20 * len(baselines)
    height = top + ROW * len(rows) + 44
    low, high = limits

    def draw(canvas: "Canvas") -> None:
        axes = plot_area(canvas, LEFT, top, RIGHT, height - 40)
        axes.set_ylim(ROW * len(rows), 0)
        axes.set_yticks([])
        scale_x(axes, axis, low, high)
        for order, (name, baseline) in enumerate(baselines.items()):
            _label_baseline(canvas, axes, f"{name} {written(baseline, digits)}", baseline.value, 12 + 20 * order)
        for order, row in enumerate(rows):
            text_baseline, value = top + ROW * order + 15, written(row.estimate, digits)
            words(canvas, fitted(row.names, PANEL_WIDTH - text_width(value) * SMALL / TEXT - 8), 0, text_baseline)
            words(canvas, value, PANEL_WIDTH, text_baseline, size=SMALL, colour=MUTED, align="right")
            middle = ROW * order + INTERVAL
            for tick in axis.ticks(low, high):
                line(axes, [tick, tick], [middle - STRIP, middle + STRIP], RULE, 1)
            for baseline in baselines.values():
                if low <= baseline.value <= high:
                    line(axes, [baseline.value] * 2, [middle - STRIP, middle + STRIP], MUTED, 1.2)
            draw_row(axes, row, middle)
        words(canvas, axis.pointing(), PANEL_WIDTH, height - 6, size=SMALL, colour=MUTED, align="right")

    values = (f"{row.label} {written(row.estimate, digits)}" for row in rows)
    return Panel(PANEL_WIDTH, height, draw, f"{axis.title}: {'; '.join(values)}.")


def _band(half: float, y: float) -> "Rectangle":
    from matplotlib.patches import Rectangle

    return Rectangle((-half, y - STRIP), 2 * half, 2 * STRIP, facecolor=RAISED, linewidth=0, zorder=0.5, clip_on=False)


def _interval(axes: "Axes", estimate: Estimate, y: float, colour: str, width: float) -> None:
    if estimate.low is not None and estimate.high is not None:
        line(axes, [estimate.low, estimate.high], [y, y], colour, width)


def _label_baseline(canvas: "Canvas", axes: "Axes", text: str, value: float, text_baseline: float) -> None:
    """Over the yardstick's line; where that lies beyond the axis, an arrow says on which side."""
    low, high = axes.get_xlim()
    place = LEFT + (value - low) / (high - low) * (RIGHT - LEFT)
    if value < low:
        text, place, align = f"← {text}", 0, "left"
    elif value > high:
        text, place, align = f"{text} →", PANEL_WIDTH, "right"
    elif place < PANEL_WIDTH / 3:
        align = "left"
    else:
        align = "right" if place > PANEL_WIDTH * 2 / 3 else "center"
    words(canvas, text, place, text_baseline, size=SMALL, colour=MUTED, align=align)


def _ends(estimates: Iterable[Estimate]) -> list[float]:
    ends = (end for estimate in estimates for end in (estimate.low, estimate.value, estimate.high))
    return [end for end in ends if end is not None]


def _in_reach(values: list[float], lines: Iterable[float]) -> list[float]:
    """The values, and those lines that would not squeeze them into less than half of the axis."""
    reach = max(values) - min(values)
    return values + [line for line in lines if min(values) - reach <= line <= max(values) + reach]
