"""Text and names as HTML."""

import re
from html import escape


def html_text(text: str) -> str:
    """Escape text as HTML. `Text` between backquotes becomes code, and numbers do not break from their units."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", breakable(text))
    text = re.sub(r"(\d) (?=%|points?\b|pixels?\b|s\b|ms\b)", "\\1\N{NO-BREAK SPACE}", text)
    return re.sub(r"\b([np]) = (?=\d)", "\\1\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}", text)


def breakable(name: str) -> str:
    """Escape a name as HTML, with optional line breaks after colons, as in timm:NAME:field=value."""
    return re.sub(r":(?=\w)", ":<wbr>", escape(name))
