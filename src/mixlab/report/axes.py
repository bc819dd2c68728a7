"""What the figures draw with: quiet axes, words, marks. Places are pixels from a panel's upper left corner."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING, Literal

from mixlab.report.colours import GROUND, INK, MUTED, RULE, Shape, colour_of, shape_of
from mixlab.report.figure import PIXELS_PER_INCH
from mixlab.report.label_placement import fitted
from mixlab.report.numbers import decimals, tick_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

PANEL_WIDTH = 360  # as wide as a phone's text, so that type keeps its size there
TEXT = 12
SMALL = 11
BOLD = 1.15  # times as wide as plain type


@dataclass(frozen=True, slots=True)
class Axis:
    """What is measured, in which unit, and on which side the better values lie, if either is better."""

    label: str
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""
    scale: Literal["linear", "log"] = "linear"
    digits: int | None = None  # decimals of written values; None: three significant digits of the largest

    @property
    def title(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def pointing(self) -> str:
        """The title of a horizontal axis with an arrow towards the better side."""
        return {"higher": f"{self.title} →", "lower": f"← {self.title}", "": self.title}[self.better]

    def decimals(self, values: Iterable[float]) -> int:
        return decimals(values) if self.digits is None else self.digits

    def logarithmic_over_a_decade(self, values: Iterable[float]) -> "Axis":
        values = list(values)
        return replace(self, scale="log") if min(values) > 0 and max(values) >= 10 * min(values) else self

    def limits(self, values: Iterable[float], margin: float = 0.08) -> tuple[float, float]:
        """A range that holds all finite values with a margin, as a part of the range, on both sides."""
        finite = [value for value in values if isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        if self.scale == "log":
            room = max((high / low) ** margin, 1.05)
            return low / room, high * room
        room = margin * (high - low) if high > low else 0.1 * abs(high) or 1.0
        return low - room, high + room

    def ticks(self, low: float, high: float) -> list[float]:
        from matplotlib.ticker import MaxNLocator

        if self.scale == "log":
            powers = range(floor(log10(low)), ceil(log10(high)) + 1)
            for leading in ((1, 2, 5), (1, 3), (1,)):
                ticks = [digit * 10.0**power for power in powers for digit in leading]
                ticks = [tick for tick in ticks if low <= tick <= high]
                if len(ticks) <= 6:
                    break
            return ticks
        whole = self.digits == 0
        steps = [1, 2, 5, 10] if whole else [1, 2, 2.5, 5, 10]
        ticks = MaxNLocator(nbins=6, steps=steps, integer=whole, min_n_ticks=1).tick_values(low, high)
        top = min(high, 100.0) if self.unit == "%" else high
        return [float(tick) for tick in ticks if low <= tick <= top]


def words(
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
    """`y` is the line on which the letters stand; `rotation` in degrees against the clock."""
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


def plot_area(canvas: "Canvas", left: float, top: float, right: float, bottom: float) -> "Axes":
    """Axes without frame and tick marks, in the rectangle between these pixels."""
    width, height = canvas.get_size_inches() * PIXELS_PER_INCH
    axes = canvas.add_axes((left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height))
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0, labelsize=SMALL, labelcolor=MUTED, pad=6)
    axes.set_axisbelow(True)
    return axes


def scale_x(axes: "Axes", axis: Axis, low: float, high: float) -> None:
    from matplotlib.ticker import NullLocator

    ticks = axis.ticks(low, high)
    axes.set_xscale(axis.scale)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, tick_labels(ticks))
    axes.set_xlim(low, high)


def scale_y(axes: "Axes", axis: Axis, low: float, high: float) -> None:
    from matplotlib.ticker import NullLocator

    ticks = axis.ticks(low, high)
    axes.set_yscale(axis.scale)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticks(ticks, tick_labels(ticks))
    axes.set_ylim(low, high)


def grid(axes: "Axes", direction: Literal["x", "y", "both"]) -> None:
    axes.grid(visible=True, axis=direction, color=RULE, linewidth=1, clip_on=False)


def line(axes: "Axes", xs: Sequence[float], ys: Sequence[float], colour: str, width: float, alpha: float = 1) -> None:
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


def put_mark(
    axes: "Axes", x: float, y: float, name: str, names: Sequence[str], *, radius: float = 5, alpha: float = 1
) -> None:
    """The mark of a name at a place of the data."""
    put_shape(axes, x, y, shape_of(name, names), face=colour_of(name, names), edge=GROUND, radius=radius, alpha=alpha)


def put_shape(
    axes: "Axes", x: float, y: float, shape: Shape, *, face: str, edge: str, radius: float, alpha: float = 1
) -> None:
    """A shape of `radius` pixels at a place of the data, whose scales must be set before.

    It is a path of its own and not one of matplotlib's markers, which need ids in an SVG.
    """
    from matplotlib.patches import Polygon
    from matplotlib.transforms import Affine2D

    across, up = axes.transData.transform((x, y)) / PIXELS_PER_INCH
    place = Affine2D().scale(radius / PIXELS_PER_INCH).translate(across, up) + axes.figure.dpi_scale_trans
    look = {"facecolor": face, "edgecolor": edge, "linewidth": 1, "alpha": alpha}
    axes.add_artist(Polygon(shape, **look, clip_on=False, zorder=4, transform=place))


def heading(canvas: "Canvas", name: str, names: Sequence[str], y: float, left: float = 0) -> None:
    """The mark of a name and the name, from `left` to the right edge of a panel."""
    width, height = canvas.get_size_inches() * PIXELS_PER_INCH
    everywhere = plot_area(canvas, 0, 0, width, height)
    everywhere.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    put_mark(everywhere, left + 6, y - 4, name, names)
    words(canvas, fitted([name], (width - left - 17) / BOLD), left + 17, y, weight="bold")
