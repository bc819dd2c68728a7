"""Forest plots: one estimate with its interval per row, for models, pairs of models or classes."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from mixlab.report.axes import (
    PANEL_WIDTH,
    SMALL,
    Axis,
    add_plot_area,
    draw_line,
    draw_marker,
    draw_shape,
    draw_text,
    set_x_scale,
)
from mixlab.report.colours import GROUND, INK, MUTED, RAISED, RULE, SHAPES, Shape, colour_for
from mixlab.report.figure import Figure, Panel
from mixlab.report.numbers import format_estimate, number
from mixlab.report.text_width import fit_names, text_width
from mixlab.stats.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.patches import Rectangle

ROW = 42  # pixels: a line of text and the interval below it
INTERVAL = 28  # pixels from the top of a row to its interval
STRIP = 8  # pixels of grid line above and below the interval, so that grid lines do not cross names
LEFT, RIGHT = 8, PANEL_WIDTH - 8
DISC = SHAPES[0]
ROWS_PER_PANEL = 22

ARROW: Shape = ((1, 0), (-0.6, 1), (-0.6, -1))
LEFT_ARROW: Shape = tuple((-x, y) for x, y in ARROW)
MAX_BAR = 5  # times the margin: a longer bar ends with an arrow
MAX_EXTENT = 5  # times the range of the other estimates: one that would make an axis longer is not contained in it

Draw = Callable[["Axes", "_Row", float], None]


@dataclass(frozen=True, slots=True)
class _Row:
    """An estimate for one name, or for the difference of two names; `note` is shown after its value."""

    names: tuple[str, ...]
    estimate: Estimate
    note: str = ""

    @property
    def label(self) -> str:
        return " − ".join(self.names)

    def value_text(self, digits: int) -> str:
        return f"{format_estimate(self.estimate, digits)} {self.note}".rstrip()


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
    """For each model, the mean with its interval, and below it the value of each seed as a small marker.

    values:    one value per seed, for each model.
    estimates: the mean with its interval, for each model.
    baselines: drawn as labelled vertical lines.
    models:    all model names, which determine the colours.
    """

    def draw_row(axes: "Axes", row: _Row, y: float) -> None:
        (name,) = row.names
        for value in values[name]:
            draw_marker(axes, value, y + 6, name, models, radius=3.5, alpha=0.6)
        _interval(axes, row.estimate, y - 3, colour_for(name, models), 2)
        draw_marker(axes, row.estimate.value, y - 3, name, models, radius=5.5)

    rows = [_Row((name,), estimate) for name, estimate in estimates.items()]
    seeds = [value for points in values.values() for value in points]
    shown = [*_ends(estimates.values()), *seeds]
    return Figure(title, _panels(rows, axis, draw_row, shown=shown, baselines=baselines or {}), caption)


def pair_forest_plot(
    title: str,
    differences: Mapping[tuple[str, str], Estimate],
    axis: Axis,
    *,
    significant: Collection[tuple[str, str]],
    detectable: float | None = None,
    caption: str = "",
) -> Figure:
    """The difference a − b of each pair (a, b).

    significant: the pairs with a significant difference, which are emphasised.
    detectable:  the smallest reliably detectable difference, drawn as a band around 0.
    """

    def draw_row(axes: "Axes", row: _Row, y: float) -> None:
        if detectable is not None:
            axes.add_artist(_band(detectable, y))
        draw_line(axes, [0, 0], [y - STRIP, y + STRIP], INK, 1)
        emphasised = row.names in significant
        _interval(axes, row.estimate, y, INK if emphasised else MUTED, 2 if emphasised else 1.2)
        face, edge = (INK, INK) if emphasised else (GROUND, MUTED)
        draw_shape(axes, row.estimate.value, y, DISC, face=face, edge=edge, radius=4.5)

    rows = [_Row(pair, difference) for pair, difference in differences.items()]
    if detectable is not None:
        smallest = number(detectable, axis.decimals([detectable]))
        caption += f" The band marks differences below {smallest} {axis.unit}, which are not reliably detected."
    band = [0.0] if detectable is None else [-detectable, detectable]
    shown = [*_ends(differences.values()), *band]
    return Figure(title, _panels(rows, axis, draw_row, shown=shown, baselines={}), caption.strip())


def bound_plot(
    title: str,
    bounds: Mapping[str, float],
    axis: Axis,
    *,
    margin: float,
    models: Sequence[str],
    notes: Mapping[str, str],
    caption: str = "",
) -> Figure:
    """For each model, an upper bound as a bar from 0.

    bounds: at least 0, for each model.
    margin: drawn as a labelled vertical line. Bars end at five times the margin, with an arrow if the bound is larger.
    models: all model names, which determine the colours.
    notes:  text after the bound, for some of the models.
    """
    end = MAX_BAR * margin

    def draw_row(axes: "Axes", row: _Row, y: float) -> None:
        (name,) = row.names
        bound, colour = row.estimate.value, colour_for(name, models)
        draw_line(axes, [0, min(bound, end)], [y, y], colour, 6)
        if bound > end:
            draw_shape(axes, end, y, ARROW, face=colour, edge=colour, radius=6)

    rows = [_Row((name,), Estimate.exact(bound, axis.unit), notes.get(name, "")) for name, bound in bounds.items()]
    shown = [0.0, margin, *(min(bound, end) for bound in bounds.values())]
    line = {"margin": Estimate.exact(margin, axis.unit)}
    return Figure(title, _panels(rows, axis, draw_row, shown=shown, baselines=line), caption)


def forest_plot(title: str, estimates: Mapping[str, Estimate], axis: Axis, *, caption: str = "") -> Figure:
    """One point with its interval per row, for names that are not models, such as classes.

    The axis does not contain a single estimate that is far from all others, so that these can be compared.
    """

    def draw_row(axes: "Axes", row: _Row, y: float) -> None:
        _interval(axes, row.estimate, y, MUTED, 1.2)
        low, high = axes.get_xlim()
        if low <= row.estimate.value <= high:
            draw_shape(axes, row.estimate.value, y, DISC, face=INK, edge=GROUND, radius=4.5)

    rows = [_Row((name,), estimate) for name, estimate in estimates.items()]
    near = _without_outlier(list(estimates.values()))
    if len(near) < len(estimates):
        caption = f"{caption} Arrows point to values outside the axis.".lstrip()
    return Figure(title, _panels(rows, axis, draw_row, shown=_ends(near), baselines={}), caption)


def _panels(
    rows: Sequence[_Row], axis: Axis, draw_row: Draw, *, shown: Sequence[float], baselines: Mapping[str, Estimate]
) -> list[Panel]:
    """Split the rows into panels of about equal height with the same axis.

    `shown` are values that the axis must contain. It also contains baselines that are near them.
    """
    shown_values = _with_near_lines(shown, [baseline.value for baseline in baselines.values()])
    digits = axis.decimals(row.estimate.value for row in rows)
    size = ceil(len(rows) / ceil(len(rows) / ROWS_PER_PANEL))
    return [
        _panel(rows[start : start + size], axis, axis.limits(shown_values), digits, draw_row, baselines)
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
        axes = add_plot_area(canvas, LEFT, top, RIGHT, height - 40)
        axes.set_ylim(ROW * len(rows), 0)
        axes.set_yticks([])
        set_x_scale(axes, axis, low, high)
        for index, (name, baseline) in enumerate(baselines.items()):
            _label_baseline(
                canvas, axes, f"{name} {format_estimate(baseline, digits)}", baseline.value, 12 + 20 * index
            )
        for index, row in enumerate(rows):
            text_baseline, value = top + ROW * index + 15, row.value_text(digits)
            draw_text(canvas, fit_names(row.names, PANEL_WIDTH - text_width(value, SMALL) - 8), 0, text_baseline)
            draw_text(canvas, value, PANEL_WIDTH, text_baseline, size=SMALL, colour=MUTED, align="right")
            middle = ROW * index + INTERVAL
            for tick in axis.ticks(low, high):
                draw_line(axes, [tick, tick], [middle - STRIP, middle + STRIP], RULE, 1)
            for baseline in baselines.values():
                if low <= baseline.value <= high:
                    draw_line(axes, [baseline.value] * 2, [middle - STRIP, middle + STRIP], MUTED, 1.2)
            draw_row(axes, row, middle)
        draw_text(canvas, axis.title_with_arrow(), PANEL_WIDTH, height - 6, size=SMALL, colour=MUTED, align="right")

    values = (f"{row.label} {row.value_text(digits)}" for row in rows)
    return Panel(PANEL_WIDTH, height, draw, f"{axis.title}: {'; '.join(values)}.")


def _band(half: float, y: float) -> "Rectangle":
    from matplotlib.patches import Rectangle

    return Rectangle((-half, y - STRIP), 2 * half, 2 * STRIP, facecolor=RAISED, linewidth=0, zorder=0.5, clip_on=False)


def _interval(axes: "Axes", estimate: Estimate, y: float, colour: str, width: float) -> None:
    """The interval within the axis, with an arrow at each end that is outside."""
    ends, (left, right) = _ends([estimate]), axes.get_xlim()
    low, high = min(ends), max(ends)
    if max(low, left) < min(high, right):
        draw_line(axes, [max(low, left), min(high, right)], [y, y], colour, width)
    if low < left:
        draw_shape(axes, left, y, LEFT_ARROW, face=colour, edge=colour, radius=5)
    if high > right:
        draw_shape(axes, right, y, ARROW, face=colour, edge=colour, radius=5)


def _label_baseline(canvas: "Canvas", axes: "Axes", text: str, value: float, text_baseline: float) -> None:
    """Label a baseline above its line, or with an arrow at the edge if it is outside the axis."""
    low, high = axes.get_xlim()
    x = LEFT + (value - low) / (high - low) * (RIGHT - LEFT)
    if value < low:
        text, x, align = f"← {text}", 0, "left"
    elif value > high:
        text, x, align = f"{text} →", PANEL_WIDTH, "right"
    elif x < PANEL_WIDTH / 3:
        align = "left"
    else:
        align = "right" if x > PANEL_WIDTH * 2 / 3 else "center"
    draw_text(canvas, text, x, text_baseline, size=SMALL, colour=MUTED, align=align)


def _ends(estimates: Iterable[Estimate]) -> list[float]:
    return [end for estimate in estimates for end in (*estimate.extent, estimate.value)]


def _without_outlier(estimates: Sequence[Estimate]) -> Sequence[Estimate]:
    """The estimates without the one that would make the axis more than `MAX_EXTENT` times as long, if there is one."""
    for index in range(len(estimates)):
        others = [*estimates[:index], *estimates[index + 1 :]]
        if len(others) > 1 and _extent(estimates) > MAX_EXTENT * _extent(others) > 0:
            return others
    return estimates


def _extent(estimates: Iterable[Estimate]) -> float:
    ends = _ends(estimates)
    return max(ends) - min(ends)


def _with_near_lines(values: Sequence[float], lines: Iterable[float]) -> list[float]:
    """The values and the lines that are at most the range of the values away from them."""
    extent = max(values) - min(values)
    return [*values, *(line for line in lines if min(values) - extent <= line <= max(values) + extent)]
