"""The HTML of a page that classifies images: the exported page, and the one of `mixlab serve`.

A page is one file with its style and its script. `web/page.*` is what all pages have in common, and `web/page.mjs` says
what the script of a page has to define.
"""

from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template

from mixlab.report.colours import css_variables
from mixlab.report.page import written_by

SOURCES = Path(__file__).with_name("web")


def classification_page(
    script: Path,
    views: Path,
    *,
    policy: str,
    kicker: str,
    title: str,
    lead: str,
    status: str,
    question: str = "",
    notes: str = "",
) -> str:
    """A page with the given parts.

    script    of the page, which follows the common one
    views     HTML that shows the current image
    policy    the content security policy
    kicker    the line above the title
    lead      the paragraph below it
    status    the line below the input, at first
    question  HTML below the status
    notes     HTML at the end
    """
    texts = {"policy": policy, "kicker": kicker, "title": title, "lead": lead, "status": status}
    return Template(_source(SOURCES / "page.html")).substitute(
        {name: escape(text) for name, text in texts.items()},
        footer=escape(written_by(version("mixlab"))),
        light=css_variables(0),
        dark=css_variables(1),
        style=_source(SOURCES / "page.css"),
        script=_source(SOURCES / "page.mjs") + "\n" + _source(script),
        views=_source(views),
        question=question,
        notes=notes,
    )


def _source(file: Path) -> str:
    return file.read_text(encoding="utf-8")
