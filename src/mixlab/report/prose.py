"""Sentences on a page."""

import re
from html import escape


def prose(text: str) -> str:
    """Text as HTML: `words` between backquotes are set as code, and a number stays on the line of its unit."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    text = re.sub(r"(\d) (?=%|points?\b|pixels?\b|s\b|ms\b)", "\\1\N{NO-BREAK SPACE}", text)
    return re.sub(r"\b([np]) = (?=\d)", "\\1\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}", text)
