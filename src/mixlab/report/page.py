"""A page: one HTML file with everything inside, for light and dark screens, telephones and paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from pathlib import Path
from typing import Protocol

from mixlab.report.colours import variables
from mixlab.report.html_text import breakable, html_text
from mixlab.report.numbers import decimals, number
from mixlab.stats.estimate import Estimate

STYLE = Path(__file__).with_name("page.css")


class Drawn(Protocol):
    def html(self) -> str: ...


Block = str | Drawn  # a string is a paragraph; `words` between backquotes are set as code


@dataclass(frozen=True, slots=True)
class Metric:
    """A number large enough to be read first, and under it what it is worth."""

    label: str
    value: Estimate
    digits: int | None = None

    def html(self) -> str:
        digits = decimals([self.value.value]) if self.digits is None else self.digits
        unit = f" <small>{escape(self.value.unit)}</small>" if self.value.unit else ""
        uncertainty = _uncertainty(self.value, digits)
        return (
            f"<div><dt>{breakable(self.label)}</dt><dd>{number(self.value.value, digits)}{unit}</dd>"
            + (f'<dd class="uncertainty">{html_text(uncertainty)}</dd>' if uncertainty else "")
            + "</div>"
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """What the page found, before everything else: a sentence, how sure it is, and the numbers behind it."""

    sentence: str
    uncertainty: str
    metrics: Sequence[Metric] = ()

    def html(self) -> str:
        figures = "".join(figure.html() for figure in self.metrics)
        return (
            f'<section class="answer"><p class="sentence">{html_text(self.sentence)}</p>'
            f"<p>{html_text(self.uncertainty)}</p>" + (f"<dl>{figures}</dl>" if figures else "") + "</section>"
        )


@dataclass(frozen=True, slots=True)
class Section:
    heading: str
    blocks: Sequence[Block]

    def html(self) -> str:
        return f"<section>\n<h2>{breakable(self.heading)}</h2>\n{_html(self.blocks)}\n</section>"


@dataclass(frozen=True, slots=True)
class Columns:
    """Blocks side by side where the page is wide enough."""

    blocks: Sequence[Block]

    def html(self) -> str:
        return f'<div class="beside">\n{_html(self.blocks)}\n</div>'


@dataclass(frozen=True, slots=True)
class Details:
    """Blocks that are folded away under a line."""

    summary: str
    blocks: Sequence[Block]

    def html(self) -> str:
        return f"<details>\n<summary>{breakable(self.summary)}</summary>\n{_html(self.blocks)}\n</details>"


@dataclass(frozen=True, slots=True)
class Code:
    text: str

    def html(self) -> str:
        return f"<pre><code>{escape(self.text)}</code></pre>"


@dataclass(frozen=True, slots=True)
class KeyValues:
    """Names and values: versions, device, commit."""

    values: Mapping[str, str]

    def html(self) -> str:
        pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in self.values.items())
        return f'<dl class="facts">{pairs}</dl>'


@dataclass(frozen=True, slots=True)
class Page:
    """`kicker`: the line over the title; `footer`: the last line."""

    title: str
    answer: Summary
    sections: Sequence[Section]
    kicker: str = ""
    footer: str = ""

    def html(self) -> str:
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{escape(self.title)}</title>
<style>
:root {{ {variables(0)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {variables(1)} }} }}
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header><p class="kicker">{escape(self.kicker)}</p><h1>{escape(self.title)}</h1></header>
<main>
{self.answer.html()}
{_html(self.sections)}
</main>
<footer><p>{html_text(self.footer)}</p></footer>
</body>
</html>
"""


def written_by(version: str) -> str:
    """A page's footer: mixlab in this version, today."""
    return f"Written by mixlab {version} on {date.today():%Y-%m-%d}."


def _html(blocks: Sequence[Block]) -> str:
    return "\n".join(f"<p>{html_text(block)}</p>" if isinstance(block, str) else block.html() for block in blocks)


def _uncertainty(estimate: Estimate, digits: int) -> str:
    if estimate.low is None or estimate.high is None:
        return f"n = {estimate.n}"
    if estimate.low == estimate.high:
        return ""
    return f"95 %: {number(estimate.low, digits)} to {number(estimate.high, digits)}, n = {estimate.n}"
