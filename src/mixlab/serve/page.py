"""The page at `/`: as the exported page, but this server classifies the images."""

from pathlib import Path

from mixlab.export.classification_page import classification_page

SOURCES = Path(__file__).with_name("web")

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data: blob:; media-src blob:; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",  # which a page can't set for itself
    "X-Content-Type-Options": "nosniff",
}


def server_page(title: str) -> str:
    """The HTML of the page."""
    return classification_page(
        SOURCES / "page.mjs",
        SOURCES / "views.html",
        policy=POLICY,
        kicker="Image classification by mixlab serve",
        title=title,
        lead="Images are sent to this server, which answers with labels and does not store them.",
        status="",
        question=(SOURCES / "token.html").read_text(encoding="utf-8"),
        notes=(SOURCES / "programs.html").read_text(encoding="utf-8"),
    )
