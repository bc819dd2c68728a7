"""Grids of images: misclassified images, or any others."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from mixlab.report.html_text import html_text
from mixlab.report.numbers import number

DISPLAY_SIZE = 112  # pixels on the page; the files have twice as many for high-resolution screens
PIXELATED_BELOW = 64  # pixels; smaller images are enlarged without interpolation


@dataclass(frozen=True, slots=True)
class ConfidentError:
    """A misclassified image.

    image        uint8 (row, column, RGB)
    name         its file name
    true         name of the true class
    predicted    name of the predicted class
    probability  of the predicted class, 0 to 1
    """

    image: np.ndarray
    name: str
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True, slots=True)
class ErrorGallery:
    """A grid of misclassified images."""

    title: str
    mistakes: Sequence[ConfidentError]
    caption: str = ""

    def html(self) -> str:
        return _figure(self.title, self.caption, map(_error_item, self.mistakes))


@dataclass(frozen=True, slots=True)
class Shown:
    """An image, uint8 (row, column, RGB), with the `title` and the `text` below it."""

    image: np.ndarray
    title: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """A grid of images."""

    title: str
    images: Sequence[Shown]
    caption: str = ""

    def html(self) -> str:
        return _figure(self.title, self.caption, map(_image_item, self.images))


def _figure(title: str, caption: str, images: Iterable[str]) -> str:
    below = f'<p class="caption">{html_text(caption)}</p>' if caption else ""
    items = "\n".join(images)
    return (
        f'<figure class="gallery">\n<figcaption><h3>{escape(title)}</h3>{below}</figcaption>\n'
        f"<ul>\n{items}\n</ul>\n</figure>"
    )


def _error_item(error: ConfidentError) -> str:
    true, predicted, name = escape(error.true), escape(error.predicted), escape(error.name)
    return (
        f"<li>{_img(error.image, f'{name}: {true} predicted as {predicted}')}"
        f"<p>{true} → <strong>{predicted}</strong></p><p>{number(100 * error.probability, 1)} %</p>"
        f'<p class="name" title="{name}">{name}</p></li>'
    )


def _image_item(shown: Shown) -> str:
    title, text = escape(shown.title), escape(shown.text)
    below = f"<p>{text}</p>" if text else ""
    return f"<li>{_img(shown.image, title)}<p>{title}</p>{below}</li>"


def _img(image: np.ndarray, alt: str) -> str:
    """An <img> element with the image inside. `alt` is escaped HTML."""
    from PIL import Image

    pil_image = Image.fromarray(image)
    css_class = ' class="pixelated"' if max(pil_image.size) < PIXELATED_BELOW else ""
    pil_image.thumbnail((2 * DISPLAY_SIZE, 2 * DISPLAY_SIZE))
    data = io.BytesIO()
    pil_image.save(data, format="PNG", optimize=True)
    source = base64.b64encode(data.getvalue()).decode("ascii")
    return f'<img{css_class} src="data:image/png;base64,{source}" alt="{alt}">'
