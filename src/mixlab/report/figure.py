"""A figure of one or more panels, as inline SVG for a page or as a PNG.

The panels have the same size. They are side by side on a wide page and stacked on a phone. In a page, a panel is an
SVG that uses the colours and fonts of the page and has no ids, so that one file can contain any number of them. In a
PNG, all panels are on one light background.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from xml.etree import ElementTree

from mixlab.files import atomic_file
from mixlab.report.colours import GROUND, use_css_variables
from mixlab.report.html_text import html_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas
    from matplotlib.typing import RcKeyType

PIXELS_PER_INCH = 72  # so that a point of type is one pixel
PNG_SCALE = 2
PNG_WIDTH = 880  # pixels of a PNG, at most; a wider panel is alone in its row
MARGIN = 28  # pixels around and between the panels of a PNG
PNG_FONTS = ("Inter", "Helvetica Neue", "Segoe UI", "Roboto", "DejaVu Sans", "Noto Sans CJK KR", "Noto Sans CJK JP")


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot. `draw` draws on an empty canvas of `width` x `height` pixels; `alt` is the alternative text."""

    width: int
    height: int
    draw: Callable[["Canvas"], None]
    alt: str

    def svg(self) -> str:
        """The panel as an inline SVG element."""
        text = io.StringIO()
        with _rendered_canvas(self, {"svg.fonttype": "none"}) as canvas:
            canvas.patch.set_visible(False)
            canvas.savefig(text, format="svg")
        return _inline_svg(text.getvalue(), self)

    def png(self) -> bytes:
        """The panel as a PNG file."""
        data = io.BytesIO()
        with _rendered_canvas(self, {"font.family": _installed_fonts()}) as canvas:
            canvas.savefig(data, format="png", dpi=PIXELS_PER_INCH * PNG_SCALE, facecolor=GROUND)
        return data.getvalue()


class FigureLegend(Protocol):
    """A legend that all panels of a figure share."""

    def html(self) -> str: ...

    def panel(self, width: int) -> Panel:
        """The legend in a PNG, with a width in pixels."""
        ...


@dataclass(frozen=True, slots=True)
class Figure:
    """Panels with a title, a caption and a legend above all panels."""

    title: str
    panels: Sequence[Panel]
    caption: str = ""
    legend: FigureLegend | None = None

    def html(self) -> str:
        legend = f"{self.legend.html()}\n" if self.legend else ""
        panels = "\n".join(panel.svg() for panel in self.panels)
        width = max((panel.width for panel in self.panels), default=0)
        caption = f'<p class="caption">{html_text(self.caption)}</p>' if self.caption else ""
        return (
            f'<figure style="--width: {width}px">\n'
            f"<figcaption><h3>{escape(self.title)}</h3>{caption}</figcaption>\n{legend}"
            f'<div class="panels">\n{panels}\n</div>\n</figure>'
        )

    def save_png(self, path: Path, columns: int = 3) -> None:
        """Save the panels in row-major order with `columns` per row, fewer if wide, without title and caption."""
        from PIL import Image

        images = [Image.open(io.BytesIO(panel.png())) for panel in self.panels]
        fitting = (PNG_WIDTH - MARGIN) // (self.panels[0].width + MARGIN)
        columns = max(1, min(columns, len(images), fitting))
        margin = MARGIN * PNG_SCALE
        width, height = (side + margin for side in images[0].size)
        rows, top = -(-len(images) // columns), margin
        above = []
        if self.legend:
            panel = self.legend.panel(columns * (self.panels[0].width + MARGIN) - MARGIN)
            above = [Image.open(io.BytesIO(panel.png()))]
            top += above[0].size[1] + margin // 2
        sheet = Image.new("RGB", (width * columns + margin, top + height * rows), GROUND)
        for image in above:
            sheet.paste(image, (margin, margin))
        for index, image in enumerate(images):
            row, column = divmod(index, columns)
            sheet.paste(image, (margin + column * width, top + row * height))
        with atomic_file(path) as temporary:
            sheet.save(temporary, format="PNG")


@contextmanager
def _rendered_canvas(panel: Panel, settings: "dict[RcKeyType, Any]") -> Iterator["Canvas"]:
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    size = (panel.width / PIXELS_PER_INCH, panel.height / PIXELS_PER_INCH)
    with matplotlib.rc_context({"text.parse_math": False, **settings}), warnings.catch_warnings():
        # Browsers have fonts for scripts that matplotlib's default font lacks; a PNG shows boxes instead.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas = Canvas(figsize=size, dpi=PIXELS_PER_INCH)
        panel.draw(canvas)
        yield canvas


def _installed_fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return [name for name in PNG_FONTS if name in installed]


def _inline_svg(document: str, panel: Panel) -> str:
    """Convert matplotlib's SVG document to an element of a page: paths and texts without groups, ids and namespaces."""
    root_attributes = {
        "class": "panel",
        "viewBox": f"0 0 {panel.width} {panel.height}",
        "role": "img",
        "aria-label": panel.alt,
    }
    root = ElementTree.Element("svg", root_attributes)
    for element in ElementTree.fromstring(document).iter():
        name = element.tag.rpartition("}")[2]
        if name in ("path", "text"):
            simplified = {key: _simplify_attribute(value) for key, value in element.attrib.items()}
            leaf = ElementTree.SubElement(root, name, {key: value for key, value in simplified.items() if value})
            leaf.text, leaf.tail = element.text, "\n"
    return use_css_variables(ElementTree.tostring(root, encoding="unicode"))


def _simplify_attribute(attribute: str) -> str:
    """Round numbers to hundredths of a pixel, and remove font families and rotations by 0."""
    attribute = re.sub(r"rotate\(-0 [^)]*\)", "", attribute)
    attribute = re.sub(r"font-family: [^;]*;?", "", attribute)
    attribute = re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), attribute)
    return " ".join(attribute.split())
