"""Text that fits into a width: measured, wrapped and shortened."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

_PIXELS = 12  # font size at which characters are measured
_RESERVE = 1.04  # drawn characters have whole pixels, and other fonts other widths


def text_width(text: str, size: int = _PIXELS) -> float:
    """Width in pixels that text of a font size in pixels needs, from the widths of characters in DejaVu Sans.

    Pages are shown in a font of the reader; DejaVu Sans is about as wide as the widest usual one, Verdana.
    """
    return _RESERVE * sum(_character_width(character) for character in text) * size / _PIXELS


def wrap_words(text: str, pixels: float) -> list[str]:
    """The words of a text in lines of at most `pixels`, in 12 pixel type; a wider word has a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer) > pixels:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def fit_names(names: Sequence[str], pixels: float) -> str:
    """Join names with a minus sign. If the result is wider than `pixels`, the longest names are shortened."""
    cells = [cell_len(name) for name in names]
    while True:
        joined = " − ".join(shorten(name, width) for name, width in zip(names, cells, strict=True))
        if text_width(joined) <= pixels or max(cells) == 1:
            return joined
        cells[cells.index(max(cells))] -= 1


def shorten(name: str, cells: int) -> str:
    """Shorten a name to at most `cells` terminal cells. The end is kept, because similar names often differ there."""
    if cell_len(name) <= cells:
        return name
    tail = (cells - 1) // 3
    head = cells - 1 - tail
    return set_cell_size(name, head).rstrip() + "…" + set_cell_size(name[::-1], tail).rstrip()[::-1]


@cache
def _character_width(character: str) -> float:
    """Width in pixels at `_PIXELS`. Characters that the font lacks are as wide as their terminal cells."""
    font = _font()
    if not font.get_char_index(ord(character)):
        return cell_len(character) * _PIXELS / 2
    return font.load_char(ord(character)).linearHoriAdvance / 2**16


@cache
def _font() -> "FT2Font":
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    font = FT2Font(findfont("DejaVu Sans"))
    font.set_size(_PIXELS, 72)  # pixels, because a point is a pixel at 72 dots per inch
    return font
