"""Figures about confidences: the reliability diagram, and the accuracy of the most confident answers."""

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
    draw_shape,
    draw_text,
    set_x_scale,
    set_y_scale,
)
from mixlab.report.colours import ACCENT, GROUND, INK, MUTED, SHADE, SHAPES
from mixlab.report.figure import Figure, Panel
from mixlab.report.numbers import number
from mixlab.stats.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_HEIGHT = 300
_MAX_POINTS = 200  # of the curve
_LEAST_ANSWERED = 10  # the accuracy of fewer images is not drawn


@dataclass(frozen=True, slots=True)
class Marked:
    """A point of the curve that is marked and labelled; both coordinates in per cent."""

    coverage: float
    accuracy: float
    label: str


def reliability_diagram(title: str, bins: Sequence[tuple[float, Estimate]], *, caption: str = "") -> Figure:
    """A figure of the accuracy by confidence; a perfectly calibrated model is on the diagonal.

    bins: (mean confidence, accuracy) of each bin, both in per cent.
    """
    confidence, accuracy = Axis("Confidence", "%", digits=0), Axis("Accuracy", "%", digits=0)
    low = min([value for mean, share in bins for value in (mean, share.low) if value is not None], default=0)
    low = max(low - 2, 0)

    def draw(canvas: "Canvas") -> None:
        draw_text(canvas, accuracy.title, 0, 12, size=SMALL, colour=MUTED)
        axes = add_plot_area(canvas, 34, 26, PANEL_WIDTH - 12, _HEIGHT - 38)
        draw_grid(axes, "both")
        set_x_scale(axes, confidence, low, 101)
        set_y_scale(axes, accuracy, low, 101)
        draw_line(axes, [low, 100], [low, 100], SHADE, 1)
        for mean, share in bins:
            assert share.low is not None and share.high is not None  # a proportion has an interval
            draw_line(axes, [mean, mean], [share.low, share.high], ACCENT, 1.4, alpha=0.5)
        for mean, share in bins:
            draw_shape(axes, mean, share.value, SHAPES[0], face=ACCENT, edge=GROUND, radius=4)
        draw_text(canvas, confidence.title, PANEL_WIDTH - 12, _HEIGHT - 4, size=SMALL, colour=MUTED, align="right")

    points = ", ".join(f"{number(mean, 0)} % confidence: {number(share.value, 0)} % correct" for mean, share in bins)
    return Figure(title, [Panel(PANEL_WIDTH, _HEIGHT, draw, f"Reliability diagram. {points}.")], caption)


def accuracy_by_coverage(
    title: str,
    coverage: Sequence[float],
    accuracy: Sequence[float],
    *,
    noun: str,
    wanted: float,
    marked: Marked | None,
    caption: str = "",
) -> Figure:
    """A figure of the accuracy if only the most confident images are answered.

    coverage, accuracy: the curve, in per cent, one point for each number of answered images.
    noun:               what a sample is, for the axis.
    wanted:             a horizontal line.
    marked:             the threshold that was set on other images; None if there is none.
    """
    first = min(_LEAST_ANSWERED, len(coverage)) - 1
    step = max(len(coverage) // _MAX_POINTS, 1)
    xs, ys = [*coverage[first::step], coverage[-1]], [*accuracy[first::step], accuracy[-1]]
    x, y = Axis(f"Answered {noun}s", "%", digits=0), Axis("Accuracy of the answers", "%", digits=1)

    def draw(canvas: "Canvas") -> None:
        draw_text(canvas, y.title, 0, 12, size=SMALL, colour=MUTED)
        axes = add_plot_area(canvas, 34, 26, PANEL_WIDTH - 12, _HEIGHT - 38)
        draw_grid(axes, "y")
        set_x_scale(axes, x, 0, 101)
        set_y_scale(axes, y, *y.limits([*ys, wanted], margin=0.06))
        draw_line(axes, [0, 100], [wanted, wanted], SHADE, 1)
        draw_line(axes, xs, ys, ACCENT, 1.6)
        if marked is not None:
            draw_shape(axes, marked.coverage, marked.accuracy, SHAPES[0], face=INK, edge=GROUND, radius=5)
            across, up = axes.transData.transform((marked.coverage, marked.accuracy))
            right = marked.coverage > 50
            draw_text(
                canvas,
                marked.label,
                across - 8 if right else across + 8,
                _HEIGHT - up + 18,
                size=SMALL,
                align="right" if right else "left",
            )
        draw_text(canvas, x.title, PANEL_WIDTH - 12, _HEIGHT - 4, size=SMALL, colour=MUTED, align="right")

    alt = f"Accuracy by the share of answered {noun}s: {number(ys[-1], 1)} % if all are answered."
    return Figure(title, [Panel(PANEL_WIDTH, _HEIGHT, draw, alt)], caption)
