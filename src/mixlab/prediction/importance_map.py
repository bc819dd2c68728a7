"""How important each place of an image is for a label, as a grid of cells.

Axes:  cell_row, cell_column  the cells of the grid
       row, column            pixels of the image as the model receives it
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from mixlab.data.preprocess import Box

Span = tuple[int, int]
"""The first pixel and the end of a side of a cell."""

Method = Literal["occlusion", "grad-cam"]

UNITS = {"occlusion": "drop in log-odds, nats", "grad-cam": "contribution to the logit"}
"""The quantity of each method, with its unit."""


@dataclass(frozen=True, eq=False)
class ImportanceMap:
    """A number for each cell: positive where the image speaks for the label, negative where it speaks against it.

    method         "occlusion" or "grad-cam"
    values         see `mixlab.prediction.occlusion` and `mixlab.prediction.grad_cam`
    rows, columns  the pixels of the cells in each row and column of the grid; the cells of an occlusion can overlap
    """

    method: Method
    values: Float[np.ndarray, "cell_row cell_column"]
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def largest(self) -> float:
        """The value of the most important cell."""
        return float(self.values.max())

    @property
    def most_important_box(self) -> Box:
        """The cell with the largest value, in pixels; the first one in row-major order if several have it."""
        row, column = np.unravel_index(self.values.argmax(), self.values.shape)
        (top, bottom), (left, right) = self.rows[row], self.columns[column]
        return left, top, right, bottom

    def pixels(self) -> Float[np.ndarray, "row column"]:
        """The value of each pixel: the mean of the cells that contain it."""
        in_rows, in_columns = _members(self.rows), _members(self.columns)
        sums = in_rows.T @ self.values.astype(np.float64) @ in_columns
        return sums / np.outer(in_rows.sum(axis=0), in_columns.sum(axis=0))

    def to_dict(self) -> dict[str, Any]:
        """JSON-serializable values, unrounded."""
        return {
            "method": self.method,
            "quantity": UNITS[self.method],
            "values": self.values.tolist(),
            "rows": [list(span) for span in self.rows],
            "columns": [list(span) for span in self.columns],
            "most_important_box": list(self.most_important_box),
        }


def equal_spans(side: int, cells: int) -> tuple[Span, ...]:
    """A side in pixels as `cells` equal parts, rounded to whole pixels."""
    edges = [round(index * side / cells) for index in range(cells + 1)]
    return tuple(pairwise(edges))


def _members(spans: tuple[Span, ...]) -> Float[np.ndarray, "span pixel"]:
    """1 where a span contains a pixel, otherwise 0."""
    pixels = np.arange(spans[-1][1])
    starts, ends = np.array(spans).T[..., None]
    return ((starts <= pixels) & (pixels < ends)).astype(np.float64)
