"""Heat maps of values from 0 to 1 with numbered rows and columns, and the scale of their colours.

Axes:  row, column  cells of a map, numbered from 1
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from mixlab.report.axes import PANEL_WIDTH, SMALL, add_plot_area, draw_line, draw_text
from mixlab.report.colours import HUES, MUTED, RULE
from mixlab.report.figure import Figure, Panel
from mixlab.report.text_width import fit_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_LEFT, _TOP, _EDGE = 22, 56, 4  # pixels beside the cells of a map: left, above, and right and below
_CELL, _NUMBER = 28, 20  # pixels of a cell, at most, and between two numbers, at least
_SCALE_CELL, _STEPS = 22, 10
_SCALE_WIDTH = _SCALE_CELL * (_STEPS + 1)  # the narrowest panel, so that names and the scale are not cut


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Values (row, column) from 0 to 1. `down` and `across` name what is numbered; `alt` is the alternative text."""

    values: np.ndarray
    down: str
    across: str
    alt: str


@dataclass(frozen=True, slots=True)
class ColourScale:
    """The colours of the values from 0 to 1, above the panels of a figure. `label` names the quantity."""

    label: str

    def html(self) -> str:
        return f'<div class="legend" style="--width: {_SCALE_WIDTH}px">{self.panel(_SCALE_WIDTH).svg()}</div>'

    def panel(self, width: int) -> Panel:
        values = np.linspace(0, 1, _STEPS + 1)

        def draw(canvas: "Canvas") -> None:
            draw_text(canvas, self.label, 0, 12, size=SMALL, colour=MUTED)
            _draw_cells(canvas, values[None], 0, 18, _SCALE_CELL)
            for place, value in enumerate(values):
                middle = _SCALE_CELL * (place + 0.5)
                draw_text(canvas, f"{value:g}", middle, 18 + _SCALE_CELL + 13, size=SMALL, colour=MUTED, align="center")

        return Panel(width, 18 + _SCALE_CELL + 18, draw, f"Colours of {self.label} from 0 to 1")


def heat_maps(title: str, maps: Sequence[HeatMap], label: str, *, caption: str = "") -> Figure:
    """A figure of heat maps with cells of the same size, and one scale. `label` names the quantity."""
    rows, columns = np.max([each.values.shape for each in maps], axis=0)
    cell = min(_CELL, (PANEL_WIDTH - _LEFT - _EDGE) / columns)
    size = (max(_SCALE_WIDTH, ceil(_LEFT + cell * columns + _EDGE)), ceil(_TOP + cell * rows + _EDGE))
    return Figure(title, [_panel(each, cell, *size) for each in maps], caption, ColourScale(label))


def _panel(each: HeatMap, cell: float, width: int, height: int) -> Panel:
    step = ceil(_NUMBER / cell)
    rows, columns = each.values.shape

    def draw(canvas: "Canvas") -> None:
        for name, baseline in ((f"↓ {each.down}", 13), (f"→ {each.across}", 30)):
            draw_text(canvas, fit_names([name], width), 0, baseline)
        _draw_cells(canvas, each.values, _LEFT, _TOP, cell)
        for row in range(0, rows, step):
            middle = _TOP + cell * (row + 0.5)
            draw_text(canvas, f"{row + 1}", _LEFT - 6, middle + 4, size=SMALL, colour=MUTED, align="right")
        for column in range(0, columns, step):
            middle = _LEFT + cell * (column + 0.5)
            draw_text(canvas, f"{column + 1}", middle, _TOP - 6, size=SMALL, colour=MUTED, align="center")

    return Panel(width, height, draw, each.alt)


def _draw_cells(canvas: "Canvas", values: np.ndarray, left: float, top: float, cell: float) -> None:
    """Cells from the ground of the page (0) to blue (1)."""
    from matplotlib.patches import Rectangle

    rows, columns = values.shape
    axes = add_plot_area(canvas, left, top, left + cell * columns, top + cell * rows)
    axes.set(xlim=(0, columns), ylim=(rows, 0), xticks=[], yticks=[])
    for (row, column), value in np.ndenumerate(values.clip(0, 1)):
        square = {"xy": (column, row), "width": 1, "height": 1, "clip_on": False}
        axes.add_artist(Rectangle(**square, facecolor=HUES["blue"][0], alpha=float(value), linewidth=0))
    for row in range(rows + 1):
        draw_line(axes, [0, columns], [row, row], RULE, 0.5)
    for column in range(columns + 1):
        draw_line(axes, [column, column], [0, rows], RULE, 0.5)
