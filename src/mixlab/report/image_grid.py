"""Images in a grid: those that were taken for something else, or any others."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from mixlab.report.html_text import html_text
from mixlab.report.numbers import number

SHOWN = 112  # pixels of the page; files hold twice as many for sharp screens
TINY = 64  # pixels; smaller images are shown with their pixels as squares


@dataclass(frozen=True, slots=True)
class ConfidentError:
    """`image`: uint8 (row, column, RGB); `probability`: what the model gave the class that it chose, 0 to 1."""

    image: np.ndarray
    name: str
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True, slots=True)
class ErrorGallery:
    title: str
    mistakes: Sequence[ConfidentError]
    caption: str = ""

    def html(self) -> str:
        return _figure(self.title, self.caption, map(_html, self.mistakes))


@dataclass(frozen=True, slots=True)
class Shown:
    """`image`: uint8 (row, column, RGB); below it `title`, and `text`, such as its name, in full."""

    image: np.ndarray
    title: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Images beside each other."""

    title: str
    images: Sequence[Shown]
    caption: str = ""

    def html(self) -> str:
        return _figure(self.title, self.caption, map(_shown, self.images))


def _figure(title: str, caption: str, images: Iterable[str]) -> str:
    below = f'<p class="caption">{html_text(caption)}</p>' if caption else ""
    listed = "\n".join(images)
    return (
        f'<figure class="mistakes">\n<figcaption><h3>{escape(title)}</h3>{below}</figcaption>\n'
        f"<ul>\n{listed}\n</ul>\n</figure>"
    )


def _html(mistake: ConfidentError) -> str:
    true, predicted, name = escape(mistake.true), escape(mistake.predicted), escape(mistake.name)
    return (
        f"<li>{_tag(mistake.image, f'{name}: {true} taken for {predicted}')}"
        f"<p>{true} → <strong>{predicted}</strong></p><p>{number(100 * mistake.probability, 1)} %</p>"
        f'<p class="name" title="{name}">{name}</p></li>'
    )


def _shown(shown: Shown) -> str:
    title, text = escape(shown.title), escape(shown.text)
    below = f"<p>{text}</p>" if text else ""
    return f"<li>{_tag(shown.image, title)}<p>{title}</p>{below}</li>"


def _tag(image: np.ndarray, alt: str) -> str:
    """`alt` is HTML already."""
    from PIL import Image

    pil_image = Image.fromarray(image)
    kind = ' class="tiny"' if max(pil_image.size) < TINY else ""
    pil_image.thumbnail((2 * SHOWN, 2 * SHOWN))
    data = io.BytesIO()
    pil_image.save(data, format="PNG", optimize=True)
    source = base64.b64encode(data.getvalue()).decode("ascii")
    return f'<img{kind} src="data:image/png;base64,{source}" alt="{alt}">'
