"""A figure: panels of one size that stand beside each other on a wide page and under each other on a phone.

In a page a panel is an SVG that takes its colours and its type from the page and has no ids, so that any number of
them can stand in one file; as a PNG the panels of a figure are one image on a light ground.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from mixlab.files import atomic_file
from mixlab.report.colours import GROUND, themed
from mixlab.report.html_text import html_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas
    from matplotlib.typing import RcKeyType

PIXELS_PER_INCH = 72  # a point of type is then a pixel of the panel
PNG_SCALE = 2
MARGIN = 28  # pixels around and between the panels of a PNG
PNG_FONTS = ("Inter", "Helvetica Neue", "Segoe UI", "Roboto", "DejaVu Sans", "Noto Sans CJK KR", "Noto Sans CJK JP")


@dataclass(frozen=True, slots=True)
class Panel:
    """`draw` fills an empty canvas of `width` x `height` pixels; `alt` says in words what it shows."""

    width: int
    height: int
    draw: Callable[["Canvas"], None]
    alt: str

    def svg(self) -> str:
        text = io.StringIO()
        with _drawn(self, {"svg.fonttype": "none"}) as canvas:
            canvas.savefig(text, format="svg")
        return _embeddable(text.getvalue(), self)

    def png(self) -> bytes:
        data = io.BytesIO()
        with _drawn(self, {"font.family": _installed_fonts()}) as canvas:
            canvas.savefig(data, format="png", dpi=PIXELS_PER_INCH * PNG_SCALE, facecolor=GROUND)
        return data.getvalue()


@dataclass(frozen=True, slots=True)
class Figure:
    title: str
    panels: Sequence[Panel]
    caption: str = ""

    def html(self) -> str:
        panels = "\n".join(panel.svg() for panel in self.panels)
        width = max((panel.width for panel in self.panels), default=0)
        caption = f'<p class="caption">{html_text(self.caption)}</p>' if self.caption else ""
        return (
            f'<figure style="--width: {width}px">\n'
            f"<figcaption><h3>{escape(self.title)}</h3>{caption}</figcaption>\n"
            f'<div class="panels">\n{panels}\n</div>\n</figure>'
        )

    def save_png(self, path: Path, columns: int = 3) -> None:
        """The panels in reading order, `columns` in a row, without title and caption."""
        from PIL import Image

        images = [Image.open(io.BytesIO(panel.png())) for panel in self.panels]
        columns = min(columns, len(images))
        width, height = (side + MARGIN * PNG_SCALE for side in images[0].size)
        rows = -(-len(images) // columns)
        sheet = Image.new("RGB", (width * columns + MARGIN * PNG_SCALE, height * rows + MARGIN * PNG_SCALE), GROUND)
        for place, image in enumerate(images):
            row, column = divmod(place, columns)
            sheet.paste(image, (column * width + MARGIN * PNG_SCALE, row * height + MARGIN * PNG_SCALE))
        with atomic_file(path) as temporary:
            sheet.save(temporary, format="PNG")


@contextmanager
def _drawn(panel: Panel, settings: "dict[RcKeyType, Any]") -> Iterator["Canvas"]:
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    size = (panel.width / PIXELS_PER_INCH, panel.height / PIXELS_PER_INCH)
    with matplotlib.rc_context({"text.parse_math": False, **settings}), warnings.catch_warnings():
        # The browser has the scripts that matplotlib's own font lacks; a PNG shows a box for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas = Canvas(figsize=size, dpi=PIXELS_PER_INCH)
        canvas.patch.set_visible(False)
        panel.draw(canvas)
        yield canvas


def _installed_fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return [name for name in PNG_FONTS if name in installed]


def _embeddable(document: str, panel: Panel) -> str:
    """An SVG document of matplotlib as an element of a page: its paths and texts without groups, ids and namespaces."""
    look = {"class": "panel", "viewBox": f"0 0 {panel.width} {panel.height}", "role": "img", "aria-label": panel.alt}
    root = ElementTree.Element("svg", look)
    for element in ElementTree.fromstring(document).iter():
        name = element.tag.rpartition("}")[2]
        if name in ("path", "text"):
            attributes = {key: _shortened(value) for key, value in element.attrib.items()}
            leaf = ElementTree.SubElement(root, name, {key: value for key, value in attributes.items() if value})
            leaf.text, leaf.tail = element.text, "\n"
    return themed(ElementTree.tostring(root, encoding="unicode"))


def _shortened(attribute: str) -> str:
    """Hundredths of a pixel are enough; the page chooses the type; a rotation by nothing says nothing."""
    attribute = re.sub(r"rotate\(-0 [^)]*\)", "", attribute)
    attribute = re.sub(r"font-family: [^;]*;?", "", attribute)
    attribute = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), attribute)
    return " ".join(attribute.split())
