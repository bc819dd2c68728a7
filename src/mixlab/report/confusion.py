"""Confusion matrix for up to 30 classes, and the most frequent confusions for more classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from mixlab.report.axes import PANEL_WIDTH, SMALL, Axis, add_plot_area, draw_line, draw_text
from mixlab.report.colours import ACCENT, INK, MUTED, RULE, SHADE
from mixlab.report.figure import Figure, Panel
from mixlab.report.forest_plot import forest_plot
from mixlab.report.numbers import DASH, number, short
from mixlab.report.text_width import shorten, text_width
from mixlab.stats.intervals import proportion_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MAX_MATRIX_CLASSES = 30
MAX_CONFUSIONS = 12
NAME_CELLS = 16  # width in terminal cells; longer class names are shortened
RECALL_WIDTH = 42  # pixels of the recall column at the right of the matrix


def confusion_matrix(
    title: str, counts: csr_array, classes: Sequence[str], *, trainings: int = 1, caption: str = ""
) -> Figure:
    """A figure of the confusions.

    counts:    (true class, predicted class) numbers of predictions, summed over all trainings, as a sparse matrix.
    trainings: number of trainings in `counts`; each must have predicted every image once.
    """
    if len(classes) > MAX_MATRIX_CLASSES:
        return _most_frequent(title, counts, classes, trainings, caption)
    return Figure(title, [_matrix(counts.toarray(), classes)], caption)


def most_frequent(counts: csr_array, most: int) -> list[tuple[int, int, int]]:
    """(true class, predicted class, count) of the most frequent confusions, at most `most`; ties by class index."""
    cells = counts.tocoo()
    true, predicted = cells.coords
    wrong = np.flatnonzero(true != predicted)
    order = np.lexsort((predicted[wrong], true[wrong], np.negative(cells.data[wrong])))[:most]
    return [(int(true[cell]), int(predicted[cell]), int(cells.data[cell])) for cell in wrong[order]]


def _most_frequent(title: str, counts: csr_array, classes: Sequence[str], trainings: int, caption: str) -> Figure:
    """A forest plot. Its intervals count each image once: several trainings on it are not independent evidence."""
    images = counts.sum(axis=1)
    confusions = most_frequent(counts, MAX_CONFUSIONS)
    if not confusions:
        all_correct = f"All {int(counts.sum()):,} predictions are correct."
        return Figure(title, [], f"{all_correct} {caption}".strip())
    shares = {
        f"{classes[true]} → {classes[predicted]}": proportion_interval(
            count / trainings, int(images[true]) // trainings
        )
        for true, predicted, count in confusions
    }
    return forest_plot(
        title, shares, Axis("Misclassified share of the true class", "%", better="lower"), caption=caption
    )


def _matrix(counts: np.ndarray, classes: Sequence[str]) -> Panel:
    names = [shorten(name, NAME_CELLS) for name in classes]
    longest = max(text_width(name) for name in names)
    horizontal = longest <= 24  # column labels
    left = longest + 10
    top = 22 + (14 if horizontal else longest + 6)
    cell = max(20, min(34, (PANEL_WIDTH - left - RECALL_WIDTH) / len(classes)))
    side = cell * len(classes)
    width, height = round(left + side + RECALL_WIDTH), round(top + side + 8)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    largest_error = max((shares - np.diag(np.diag(shares))).max(), 1e-9)

    def draw(canvas: "Canvas") -> None:
        from matplotlib.patches import Rectangle

        axes = add_plot_area(canvas, left, top, left + side, top + side)
        axes.set(xlim=(0, len(classes)), ylim=(len(classes), 0), xticks=[], yticks=[])
        draw_text(canvas, "true ↓  predicted →", left, 11, size=SMALL, colour=MUTED)
        draw_text(canvas, "recall", width, top - 8, size=SMALL, colour=MUTED, align="right")
        for boundary in range(len(classes) + 1):
            draw_line(axes, [boundary, boundary], [0, len(classes)], RULE, 0.5)
            draw_line(axes, [0, len(classes)], [boundary, boundary], RULE, 0.5)
        for true, name in enumerate(names):
            middle = top + cell * (true + 0.5) + 4
            draw_text(canvas, name, left - 8, middle, align="right")
            recall = f"{number(100 * shares[true, true], 0)} %" if counts[true].any() else DASH
            draw_text(canvas, recall, width, middle, size=SMALL, colour=MUTED, align="right")
            across = left + cell * (true + 0.5)
            if horizontal:
                draw_text(canvas, name, across, top - 8, align="center")
            else:
                draw_text(canvas, name, across + 4, top - 8, rotation=90)
            for predicted in np.flatnonzero(counts[true]):
                correct = true == predicted
                alpha = 0.45 * shares[true, true] if correct else 0.12 + 0.4 * shares[true, predicted] / largest_error
                square = {"xy": (predicted + 0.05, true + 0.05), "width": 0.9, "height": 0.9, "clip_on": False}
                fill = SHADE if correct else ACCENT
                axes.add_artist(Rectangle(**square, facecolor=fill, alpha=alpha, linewidth=0, zorder=3))
                x, colour = left + cell * (predicted + 0.5), MUTED if correct else INK
                count = _count(counts[true, predicted], cell)
                draw_text(canvas, count, x, middle, size=SMALL, align="center", colour=colour)

    errors = int(counts.sum() - np.trace(counts))
    alt = f"Confusion matrix of {len(classes)} classes: {errors} of {int(counts.sum())} predictions are wrong."
    return Panel(width, height, draw, alt)


def _count(count: int, width: float) -> str:
    """A number of predictions, with one decimal less if it is wider than its cell."""
    text = short(count)
    return short(count, digits=2) if "." in text and text_width(text, SMALL) > width else text
