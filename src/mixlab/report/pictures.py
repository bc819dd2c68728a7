"""Pictures that were taken for something else, in a grid."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from mixlab.report.numbers import number
from mixlab.report.prose import prose

SHOWN = 112  # pixels of the page; files hold twice as many for sharp screens
TINY = 64  # pixels; smaller pictures are shown with their pixels as squares


@dataclass(frozen=True, slots=True)
class Mistake:
    """`image`: uint8 (row, column, RGB); `probability`: what the model gave the class that it chose, 0 to 1."""

    image: np.ndarray
    name: str
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True, slots=True)
class Mistakes:
    title: str
    mistakes: Sequence[Mistake]
    caption: str = ""

    def html(self) -> str:
        caption = f'<p class="caption">{prose(self.caption)}</p>' if self.caption else ""
        pictures = "\n".join(map(_html, self.mistakes))
        return (
            f'<figure class="mistakes">\n<figcaption><h3>{escape(self.title)}</h3>{caption}</figcaption>\n'
            f"<ul>\n{pictures}\n</ul>\n</figure>"
        )


def _html(mistake: Mistake) -> str:
    from PIL import Image

    picture = Image.fromarray(mistake.image)
    kind = ' class="tiny"' if max(picture.size) < TINY else ""
    picture.thumbnail((2 * SHOWN, 2 * SHOWN))
    data = io.BytesIO()
    picture.save(data, format="PNG", optimize=True)
    source = base64.b64encode(data.getvalue()).decode("ascii")
    true, predicted, name = escape(mistake.true), escape(mistake.predicted), escape(mistake.name)
    return (
        f'<li><img{kind} src="data:image/png;base64,{source}" alt="{name}: {true} taken for {predicted}">'
        f"<p>{true} → <strong>{predicted}</strong></p><p>{number(100 * mistake.probability, 1)} %</p>"
        f'<p class="name" title="{name}">{name}</p></li>'
    )
