"""Drawing functions of the figures: axes, text and markers. Positions are pixels from the panel's upper left corner."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING, Literal

from mixlab.report.colours import GROUND, INK, MUTED, RULE, Shape, colour_for, shape_for
from mixlab.report.figure import PIXELS_PER_INCH
from mixlab.report.numbers import decimals, tick_labels
from mixlab.report.text_width import fit_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

PANEL_WIDTH = 360  # about the width of text on a phone, so that type is not scaled there
TEXT = 12  # font size in pixels
SMALL = 11  # font size in pixels
BOLD = 1.15  # width relative to regular type


@dataclass(frozen=True, slots=True)
class Axis:
    """The quantity on an axis.

    label   name of the quantity
    unit    appended to the label in parentheses; "" for none
    better  which values are better, shown as an arrow; "" if neither
    scale   "linear" or "log"
    digits  decimals of values in text; None for three significant digits of the largest value
    """

    label: str
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""
    scale: Literal["linear", "log"] = "linear"
    digits: int | None = None

    @property
    def title(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def title_with_arrow(self) -> str:
        """The title of a horizontal axis, with an arrow that points to the better side."""
        return {"higher": f"{self.title} →", "lower": f"← {self.title}", "": self.title}[self.better]

    def decimals(self, values: Iterable[float]) -> int:
        """Number of decimals for `values` in text."""
        return decimals(values) if self.digits is None else self.digits

    def logarithmic_over_a_decade(self, values: Iterable[float]) -> "Axis":
        """This axis, with a logarithmic scale if `values` are positive and span a decade or more."""
        values = list(values)
        return replace(self, scale="log") if min(values) > 0 and max(values) >= 10 * min(values) else self

    def limits(self, values: Iterable[float], margin: float = 0.08) -> tuple[float, float]:
        """(low, high) around all finite values, with a margin on both sides as a fraction of their range."""
        finite = [value for value in values if isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        if self.scale == "log":
            factor = max((high / low) ** margin, 1.05)
            return low / factor, high * factor
        padding = margin * (high - low) if high > low else 0.1 * abs(high) or 1.0
        return low - padding, high + padding

    def ticks(self, low: float, high: float) -> list[float]:
        """At most about six tick positions in [low, high]; none above 100 on an axis in per cent."""
        from matplotlib.ticker import MaxNLocator

        if self.scale == "log":
            powers = range(floor(log10(low)), ceil(log10(high)) + 1)
            for leading in ((1, 2, 5), (1, 3), (1,)):
                ticks = [digit * 10.0**power for power in powers for digit in leading]
                ticks = [tick for tick in ticks if low <= tick <= high]
                if len(ticks) <= 6:
                    break
            return ticks
        integers = self.digits == 0
        steps = [1, 2, 5, 10] if integers else [1, 2, 2.5, 5, 10]
        ticks = MaxNLocator(nbins=6, steps=steps, integer=integers, min_n_ticks=1).tick_values(low, high)
        top = min(high, 100.0) if self.unit == "%" else high
        return [float(tick) for tick in ticks if low <= tick <= top]


def draw_text(
    canvas: "Canvas",
    text: str,
    x: float,
    y: float,
    *,
    size: int = TEXT,
    colour: str = INK,
    align: Literal["left", "center", "right"] = "left",
    weight: Literal["normal", "bold"] = "normal",
    rotation: int = 0,
) -> None:
    """Draw text. `y` is its baseline; `rotation` is in degrees counterclockwise."""
    width, height = canvas.get_size_inches() * PIXELS_PER_INCH
    canvas.text(
        x / width,
        1 - y / height,
        text,
        fontsize=size,
        color=colour,
        ha=align,
        va="baseline",
        weight=weight,
        rotation=rotation,
        rotation_mode="anchor",
    )


def add_plot_area(canvas: "Canvas", left: float, top: float, right: float, bottom: float) -> "Axes":
    """Add axes without frame and tick marks in the given rectangle (pixels)."""
    width, height = canvas.get_size_inches() * PIXELS_PER_INCH
    axes = canvas.add_axes((left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height))
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0, labelsize=SMALL, labelcolor=MUTED, pad=6)
    axes.set_axisbelow(True)
    return axes


def set_x_scale(axes: "Axes", axis: Axis, low: float, high: float) -> None:
    """Set scale, limits and ticks of the x axis."""
    from matplotlib.ticker import NullLocator

    ticks = axis.ticks(low, high)
    axes.set_xscale(axis.scale)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, tick_labels(ticks))
    axes.set_xlim(low, high)


def set_y_scale(axes: "Axes", axis: Axis, low: float, high: float) -> None:
    """Set scale, limits and ticks of the y axis."""
    from matplotlib.ticker import NullLocator

    ticks = axis.ticks(low, high)
    axes.set_yscale(axis.scale)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticks(ticks, tick_labels(ticks))
    axes.set_ylim(low, high)


def draw_grid(axes: "Axes", direction: Literal["x", "y", "both"]) -> None:
    """Draw grid lines at the ticks."""
    axes.grid(visible=True, axis=direction, color=RULE, linewidth=1, clip_on=False)


def draw_line(
    axes: "Axes", xs: Sequence[float], ys: Sequence[float], colour: str, width: float, alpha: float = 1
) -> None:
    """Draw a line through points in data coordinates; `width` is in pixels."""
    axes.plot(
        xs,
        ys,
        color=colour,
        linewidth=width,
        alpha=alpha,
        clip_on=False,
        solid_capstyle="round",
        solid_joinstyle="round",
    )


def draw_marker(
    axes: "Axes", x: float, y: float, name: str, names: Sequence[str], *, radius: float = 5, alpha: float = 1
) -> None:
    """Draw the marker of a name at a point in data coordinates; `radius` is in pixels."""
    draw_shape(
        axes, x, y, shape_for(name, names), face=colour_for(name, names), edge=GROUND, radius=radius, alpha=alpha
    )


def draw_shape(
    axes: "Axes", x: float, y: float, shape: Shape, *, face: str, edge: str, radius: float, alpha: float = 1
) -> None:
    """Draw a shape of `radius` pixels at a point in data coordinates. The scales of `axes` must be set before.

    The shape is a polygon and not one of matplotlib's markers, because markers need ids in an SVG.
    """
    from matplotlib.patches import Polygon
    from matplotlib.transforms import Affine2D

    across, up = axes.transData.transform((x, y)) / PIXELS_PER_INCH
    transform = Affine2D().scale(radius / PIXELS_PER_INCH).translate(across, up) + axes.figure.dpi_scale_trans
    style = {"facecolor": face, "edgecolor": edge, "linewidth": 1, "alpha": alpha}
    axes.add_artist(Polygon(shape, **style, clip_on=False, zorder=4, transform=transform))


def draw_heading(canvas: "Canvas", name: str, names: Sequence[str], y: float, left: float = 0) -> None:
    """Draw the marker of a name and the name, between `left` and the right edge of the panel."""
    width, height = canvas.get_size_inches() * PIXELS_PER_INCH
    overlay = add_plot_area(canvas, 0, 0, width, height)
    overlay.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    draw_marker(overlay, left + 6, y - 4, name, names)
    draw_text(canvas, fit_names([name], (width - left - 17) / BOLD), left + 17, y, weight="bold")
