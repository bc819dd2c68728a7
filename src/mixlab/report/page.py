"""A page: one self-contained HTML file for light and dark screens, phones and print."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from pathlib import Path
from typing import Protocol

from mixlab.report.colours import css_variables
from mixlab.report.html_text import breakable, html_text
from mixlab.report.numbers import decimals, number
from mixlab.stats.estimate import Estimate

STYLE = Path(__file__).with_name("page.css")


class Renderable(Protocol):
    """Anything that a page can contain: tables, figures, galleries and the blocks of this module."""

    def html(self) -> str: ...


Block = str | Renderable
"""A string is a paragraph; `text` between backquotes becomes code."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A key figure in large type, with its uncertainty below."""

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
    """The result at the top of a page: a sentence, its uncertainty and the key figures."""

    sentence: str
    uncertainty: str
    metrics: Sequence[Metric] = ()

    def html(self) -> str:
        metrics = "".join(metric.html() for metric in self.metrics)
        return (
            f'<section class="summary"><p class="sentence">{html_text(self.sentence)}</p>'
            f"<p>{html_text(self.uncertainty)}</p>" + (f"<dl>{metrics}</dl>" if metrics else "") + "</section>"
        )


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the blocks below it."""

    heading: str
    blocks: Sequence[Block]

    def html(self) -> str:
        return f"<section>\n<h2>{breakable(self.heading)}</h2>\n{_html(self.blocks)}\n</section>"


@dataclass(frozen=True, slots=True)
class Columns:
    """Blocks side by side if the page is wide enough."""

    blocks: Sequence[Block]

    def html(self) -> str:
        return f'<div class="columns">\n{_html(self.blocks)}\n</div>'


@dataclass(frozen=True, slots=True)
class Details:
    """Blocks in a collapsed section with the line `summary`."""

    summary: str
    blocks: Sequence[Block]

    def html(self) -> str:
        return f"<details>\n<summary>{breakable(self.summary)}</summary>\n{_html(self.blocks)}\n</details>"


@dataclass(frozen=True, slots=True)
class Code:
    """A block of preformatted code."""

    text: str

    def html(self) -> str:
        return f"<pre><code>{escape(self.text)}</code></pre>"


@dataclass(frozen=True, slots=True)
class KeyValues:
    """A list of names and values, such as versions, device and commit."""

    values: Mapping[str, str]

    def html(self) -> str:
        pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in self.values.items())
        return f'<dl class="key-values">{pairs}</dl>'


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page. `kicker` is the line above the title, `footer` the last line."""

    title: str
    summary: Summary
    sections: Sequence[Section]
    footer: str
    kicker: str = ""

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
:root {{ {css_variables(0)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {css_variables(1)} }} }}
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header><p class="kicker">{escape(self.kicker)}</p><h1>{escape(self.title)}</h1></header>
<main>
{self.summary.html()}
{_html(self.sections)}
</main>
<footer><p>{html_text(self.footer)}</p></footer>
</body>
</html>
"""


def written_by(version: str) -> str:
    """The footer of a page, with the version of mixlab and the current date."""
    return f"Written by mixlab {version} on {date.today():%Y-%m-%d}."


def _html(blocks: Sequence[Block]) -> str:
    return "\n".join(f"<p>{html_text(block)}</p>" if isinstance(block, str) else block.html() for block in blocks)


def _uncertainty(estimate: Estimate, digits: int) -> str:
    if estimate.low is None or estimate.high is None:
        return f"n = {estimate.n}"
    if estimate.low == estimate.high:
        return ""
    return f"95 %: {number(estimate.low, digits)} to {number(estimate.high, digits)}, n = {estimate.n}"
