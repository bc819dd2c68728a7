"""A figure of an image beside copies of it with maps as overlays, each with a colour bar."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mixlab.report.axes import SMALL, TEXT, add_plot_area, draw_text
from mixlab.report.colours import GROUND, INK, MUTED
from mixlab.report.figure import Panel
from mixlab.report.image_panels import NEGATIVE, POSITIVE
from mixlab.report.numbers import tick_labels
from mixlab.report.text_width import fit_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SIDE = 232  # pixels of the longer side of an image
_TOP, _GAP, _BAR_GAP, _BAR, _BAR_TEXT = 66, 24, 10, 9, 66
_BOTTOM = 6
_DARKEST = 0.5  # grey value of black below an overlay, so that colours are visible on it
_STRONGEST = 0.85  # opacity of the largest absolute value


@dataclass(frozen=True, slots=True)
class Overlay:
    """A map over an image.

    heading  above the image
    values   float (row, column), one for each pixel
    unit     of the values, at the colour bar
    box      (left, upper, right, lower) in pixels; it is outlined
    """

    heading: str
    values: np.ndarray
    unit: str
    box: tuple[int, int, int, int]


def overlay_panel(title: str, subtitle: str, image: np.ndarray, overlays: Sequence[Overlay]) -> Panel:
    """The image, uint8 (row, column, RGB), beside its overlays.

    The colours of an overlay are transparent at 0. Their scale is symmetric, so that 0 is in the middle of the bar.
    """
    rows, columns, _ = image.shape
    scale = SIDE / max(rows, columns)
    size = (columns * scale, rows * scale)
    block = size[0] + _BAR_GAP + _BAR + _BAR_TEXT
    width = round(size[0] + len(overlays) * (_GAP + block))
    draw = partial(_draw, title, subtitle, image, overlays, size)
    return Panel(width, round(_TOP + size[1] + _BOTTOM), draw, f"{title}, {subtitle}")


def blended(image: np.ndarray, values: np.ndarray, limit: float) -> np.ndarray:
    """The image in grey with the values as colours, float (row, column, RGB) in [0, 1]; opaque at ±`limit`."""
    grey = image.astype(float) @ (0.299, 0.587, 0.114) / 255  # the luma of Rec. 601
    ground = (_DARKEST + (1 - _DARKEST) * grey)[..., None]
    opacity = _STRONGEST * np.abs(values / limit)[..., None]
    return ground * (1 - opacity) + _colours(values) * opacity


def _draw(
    title: str,
    subtitle: str,
    image: np.ndarray,
    overlays: Sequence[Overlay],
    size: tuple[float, float],
    canvas: "Canvas",
) -> None:
    width, height = size
    total = width + len(overlays) * (_GAP + width + _BAR_GAP + _BAR + _BAR_TEXT)
    draw_text(canvas, fit_names([title], total / 1.3), 0, 15, size=TEXT + 2, weight="bold")
    draw_text(canvas, fit_names([subtitle], total), 0, 33, colour=MUTED)
    draw_text(canvas, "input", 0, _TOP - 8, colour=MUTED)
    _draw_image(canvas, image / 255, 0, size)
    left = width + _GAP
    for overlay in overlays:
        draw_text(canvas, overlay.heading, left, _TOP - 8, colour=MUTED)
        limit = float(np.abs(overlay.values).max()) or 1.0
        _draw_image(canvas, blended(image, overlay.values, limit), left, size, overlay.box)
        _draw_bar(canvas, overlay.unit, limit, left + width + _BAR_GAP, height)
        left += width + _BAR_GAP + _BAR + _BAR_TEXT + _GAP


def _draw_image(
    canvas: "Canvas",
    pixels: np.ndarray,
    left: float,
    size: tuple[float, float],
    box: tuple[int, int, int, int] | None = None,
) -> None:
    from matplotlib.patches import Rectangle

    rows, columns, _ = pixels.shape
    axes = add_plot_area(canvas, left, _TOP, left + size[0], _TOP + size[1])
    axes.set_axis_off()
    axes.imshow(pixels, interpolation="nearest", aspect="auto", extent=(0, columns, rows, 0))
    if box is not None:
        corner, sides = box[:2], (box[2] - box[0], box[3] - box[1])
        for colour, line in ((GROUND, 3.5), (INK, 1.5)):
            axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=colour, linewidth=line, clip_on=False))


def _draw_bar(canvas: "Canvas", unit: str, limit: float, left: float, height: float) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = add_plot_area(canvas, left, _TOP, left + _BAR, _TOP + height)
    values = np.linspace(limit, -limit, 256)[:, None]
    axes.imshow(
        blended(np.full((256, 1, 3), 255), values, limit), aspect="auto", extent=(0, 1, -limit, limit), zorder=1
    )
    ticks = [float(tick) for tick in MaxNLocator(nbins=4).tick_values(-limit, limit) if abs(tick) <= limit]
    axes.set_xticks([])
    axes.set_yticks(ticks, tick_labels(ticks))
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=SMALL, labelcolor=MUTED, length=0, pad=4)
    draw_text(
        canvas,
        unit,
        left + _BAR + _BAR_TEXT - 8,
        _TOP + height / 2,
        size=SMALL,
        colour=MUTED,
        align="center",
        rotation=90,
    )


def _colours(values: np.ndarray) -> np.ndarray:
    """The colour of the sign of each value, float (row, column, RGB) in [0, 1]."""
    ends = [[int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)] for colour in (NEGATIVE, POSITIVE)]
    return np.where(values[..., None] < 0, *np.array(ends))
