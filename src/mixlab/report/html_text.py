"""Sentences and names on a page."""

import re
from html import escape


def html_text(text: str) -> str:
    """Text as HTML: `words` between backquotes are set as code, and a number stays on the line of its unit."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", breakable(text))
    text = re.sub(r"(\d) (?=%|points?\b|pixels?\b|s\b|ms\b)", "\\1\N{NO-BREAK SPACE}", text)
    return re.sub(r"\b([np]) = (?=\d)", "\\1\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}", text)


def breakable(name: str) -> str:
    """A name as HTML; a long one, such as timm:NAME:field=value, breaks behind its colons."""
    return re.sub(r":(?=\w)", ":<wbr>", escape(name))
