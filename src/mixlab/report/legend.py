"""A legend of colours on a page: names behind swatches."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mixlab.report.html_text import breakable


@dataclass(frozen=True, slots=True)
class Legend:
    """A list of names with their colours; `label` is its name for screen readers.

    Each entry has a name, and red, green and blue from 0 to 255.
    """

    label: str
    entries: Sequence[tuple[str, tuple[int, int, int]]]

    def html(self) -> str:
        items = "".join(f"<li>{_swatch(colour)}{breakable(name)}</li>" for name, colour in self.entries)
        return f'<ul class="legend" aria-label="{escape(self.label)}">{items}</ul>'


def _swatch(colour: tuple[int, int, int]) -> str:
    """A square as SVG, which is printed, as the backgrounds of elements are not."""
    red, green, blue = colour
    return (
        '<svg class="swatch" viewBox="0 0 16 16" aria-hidden="true">'
        f'<rect x="0.5" y="0.5" width="15" height="15" fill="#{red:02x}{green:02x}{blue:02x}"/></svg>'
    )
