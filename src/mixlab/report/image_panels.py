"""A figure of image panels: filters as tiles, heat maps. Values become colours here.

Axes:  tile         one map or filter
       row, column  its pixels
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixlab.report.colours import GROUND, HUES
from mixlab.report.figure import PIXELS_PER_INCH, Figure, Panel
from mixlab.report.html_text import html_text
from mixlab.report.text_width import wrap_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_HEADING_WIDTH, _LINE_HEIGHT = 240, 16  # pixels of a PNG
TILE = 32  # pixels
GAP = 4  # pixels between tiles
NEGATIVE, POSITIVE = HUES["blue"][0], HUES["vermilion"][0]


@dataclass(frozen=True, slots=True)
class ImagePanel:
    """An image, uint8 (row, column, RGB or RGBA), with a heading and an alternative text."""

    heading: str
    image: np.ndarray
    alt: str

    def html(self) -> str:
        from PIL import Image

        data = io.BytesIO()
        Image.fromarray(self.image).save(data, format="PNG", optimize=True)
        source = base64.b64encode(data.getvalue()).decode("ascii")
        return (
            f'<div class="tiles"><p>{html_text(self.heading)}</p>'
            f'<img src="data:image/png;base64,{source}" width="{self.image.shape[1]}" alt="{escape(self.alt)}"></div>'
        )


@dataclass(frozen=True, slots=True)
class ImageFigure:
    """Image panels side by side, with a title and a caption."""

    title: str
    panels: Sequence[ImagePanel]
    caption: str = ""

    def html(self) -> str:
        panels = "\n".join(panel.html() for panel in self.panels)
        width = max(panel.image.shape[1] for panel in self.panels)
        caption = f'<p class="caption">{html_text(self.caption)}</p>' if self.caption else ""
        return (
            f'<figure style="--width: {width}px">\n'
            f"<figcaption><h3>{escape(self.title)}</h3>{caption}</figcaption>\n"
            f'<div class="panels">\n{panels}\n</div>\n</figure>'
        )

    def save_png(self, path: Path) -> None:
        """Save the panels with their headings in row-major order, without title and caption."""
        width = max(*(panel.image.shape[1] for panel in self.panels), _HEADING_WIDTH)
        headings = [wrap_words(panel.heading, width) for panel in self.panels]
        top = _LINE_HEIGHT * max(map(len, headings)) + 8
        height = top + max(panel.image.shape[0] for panel in self.panels)
        plots = [
            Panel(width, height, partial(_draw, panel.image, "\n".join(lines), top), panel.alt)
            for panel, lines in zip(self.panels, headings, strict=True)
        ]
        Figure(self.title, plots).save_png(path)


def _draw(image: np.ndarray, heading: str, top: int, canvas: "Canvas") -> None:
    """The image in its own size at the left, `top` pixels below the upper edge, where its heading is."""
    width, height = canvas.get_size_inches() * PIXELS_PER_INCH
    canvas.text(0, 1, heading, fontsize=12, va="top")
    rows, columns = image.shape[:2]
    axes = canvas.add_axes((0, (height - top - rows) / height, columns / width, rows / height))
    axes.set_axis_off()
    axes.imshow(image, interpolation="nearest", aspect="auto")


def diverging(values: np.ndarray) -> np.ndarray:
    """Colours of values in [-1, 1], uint8 (..., RGB): blue below 0, the ground of the page at 0, vermilion above."""
    ends = np.where(values[..., None] < 0, _rgb(NEGATIVE), _rgb(POSITIVE))
    return _blended(ends, np.abs(values))


def sequential(values: np.ndarray) -> np.ndarray:
    """Colours of values in [0, 1], uint8 (..., RGB): from the ground of the page to blue."""
    return _blended(np.broadcast_to(_rgb(NEGATIVE), (*values.shape, 3)), values)


def symmetric(tiles: np.ndarray) -> np.ndarray:
    """Tiles (tile, row, column) as colours, each divided by its largest absolute value."""
    largest = np.abs(tiles).max(axis=(1, 2), keepdims=True)
    return diverging(tiles / np.where(largest > 0, largest, 1))


def arranged(tiles: np.ndarray, columns: int, side: int = TILE) -> np.ndarray:
    """Colour tiles, uint8 (tile, row, column, RGB), in row-major order as one RGBA image with transparent gaps.

    Tiles whose longer side has less than `side` pixels are enlarged by a whole factor without interpolation.
    """
    scale = max(1, -(-side // max(tiles.shape[1:3])))
    enlarged = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    count, height, width, _ = enlarged.shape
    columns = min(columns, count)
    lines = -(-count // columns)
    image = np.zeros((lines * (height + GAP) - GAP, columns * (width + GAP) - GAP, 4), dtype=np.uint8)
    for index, tile in enumerate(enlarged):
        line, column = divmod(index, columns)
        top, left = line * (height + GAP), column * (width + GAP)
        image[top : top + height, left : left + width] = np.dstack([tile, np.full((height, width), 255, np.uint8)])
    return image


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)], dtype=float)


def _blended(ends: np.ndarray, weights: np.ndarray) -> np.ndarray:
    ground = _rgb(GROUND)
    return np.rint(ground + (ends - ground) * weights[..., None]).astype(np.uint8)
