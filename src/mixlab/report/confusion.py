"""What is taken for what: a matrix of a few classes, the worst confusions of many."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixlab.report.axes import PANEL_WIDTH, SMALL, Axis, line, plot_area, words
from mixlab.report.colours import ACCENT, INK, MUTED, RULE, SHADE
from mixlab.report.figure import Figure, Panel
from mixlab.report.forest_plot import forest_plot
from mixlab.report.label_placement import shortened, text_width
from mixlab.report.numbers import DASH, number, short
from mixlab.stats.intervals import proportion_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

CLASSES_IN_A_MATRIX = 30
WORST = 12
NAME_CELLS = 16  # of a terminal's grid; longer names of classes are shortened
RECALL = 42  # pixels to the right of the matrix


def confusion_matrix(
    title: str, counts: np.ndarray, classes: Sequence[str], *, trainings: int = 1, caption: str = ""
) -> Figure:
    """`counts`: answers by (true class, predicted class), from each of `trainings` for every image."""
    if len(classes) > CLASSES_IN_A_MATRIX:
        return _worst(title, counts, classes, trainings, caption)
    return Figure(title, [_matrix(counts, classes)], caption)


def _worst(title: str, counts: np.ndarray, classes: Sequence[str], trainings: int, caption: str) -> Figure:
    """The intervals count each image once, however many trainings answered: it is no new evidence each time."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(wrong, axis=None, kind="stable")[::-1][:WORST]
    pairs = [divmod(int(place), len(classes)) for place in order if wrong.flat[place]]
    if not pairs:
        none = f"None of the {int(counts.sum()):,} answers was wrong."
        return Figure(title, [], f"{none} {caption}".strip())
    shares = {
        f"{classes[true]} → {classes[predicted]}": proportion_interval(
            wrong[true, predicted] / trainings, int(counts[true].sum()) // trainings
        )
        for true, predicted in pairs
    }
    return forest_plot(
        title, shares, Axis("Share of the class taken for the other", "%", better="lower"), caption=caption
    )


def _matrix(counts: np.ndarray, classes: Sequence[str]) -> Panel:
    names = [shortened(name, NAME_CELLS) for name in classes]
    longest = max(text_width(name) for name in names)
    upright = longest <= 24
    left = longest + 10
    top = 22 + (14 if upright else longest + 6)
    cell = max(20, min(34, (PANEL_WIDTH - left - RECALL) / len(classes)))
    side = cell * len(classes)
    width, height = round(left + side + RECALL), round(top + side + 8)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    most = max((shares - np.diag(np.diag(shares))).max(), 1e-9)

    def draw(canvas: "Canvas") -> None:
        from matplotlib.patches import Rectangle

        axes = plot_area(canvas, left, top, left + side, top + side)
        axes.set(xlim=(0, len(classes)), ylim=(len(classes), 0), xticks=[], yticks=[])
        words(canvas, "true ↓  predicted →", left, 11, size=SMALL, colour=MUTED)
        words(canvas, "recall", width, top - 8, size=SMALL, colour=MUTED, align="right")
        for boundary in range(len(classes) + 1):
            line(axes, [boundary, boundary], [0, len(classes)], RULE, 0.5)
            line(axes, [0, len(classes)], [boundary, boundary], RULE, 0.5)
        for true, name in enumerate(names):
            middle = top + cell * (true + 0.5) + 4
            words(canvas, name, left - 8, middle, align="right")
            recall = f"{number(100 * shares[true, true], 0)} %" if counts[true].any() else DASH
            words(canvas, recall, width, middle, size=SMALL, colour=MUTED, align="right")
            across = left + cell * (true + 0.5)
            if upright:
                words(canvas, name, across, top - 8, align="center")
            else:
                words(canvas, name, across + 4, top - 8, rotation=90)
            for predicted in np.flatnonzero(counts[true]):
                right = true == predicted
                strength = 0.45 * shares[true, true] if right else 0.12 + 0.4 * shares[true, predicted] / most
                place = {"xy": (predicted + 0.05, true + 0.05), "width": 0.9, "height": 0.9, "clip_on": False}
                fill = SHADE if right else ACCENT
                axes.add_artist(Rectangle(**place, facecolor=fill, alpha=strength, linewidth=0, zorder=3))
                x, colour = left + cell * (predicted + 0.5), MUTED if right else INK
                words(canvas, short(counts[true, predicted]), x, middle, size=SMALL, align="center", colour=colour)

    errors = int(counts.sum() - np.trace(counts))
    alt = f"Confusion matrix of {len(classes)} classes: {errors} of {int(counts.sum())} answers are wrong."
    return Panel(width, height, draw, alt)
