"""The page in a real browser, at the width of a desk and of a telephone."""

import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def opened(html: str, width: int, folder: Path) -> tuple[int, str]:
    """The width that the page's content takes in a frame of `width` pixels, and what the browser complains about."""
    assert BROWSER is not None
    frame = folder / "frame.html"
    frame.write_text(  # a frame, because a headless window is never narrower than 500 pixels
        f'<iframe style="width: {width}px; height: 800px; border: 0" srcdoc="{escape(html)}"></iframe>'
        "<script>onload = () => document.body.append("
        "`width=${document.querySelector('iframe').contentDocument.documentElement.scrollWidth};`)</script>",
        encoding="utf-8",
    )
    options = "--headless --no-sandbox --disable-gpu --hide-scrollbars --enable-logging=stderr --window-size=1400,900"
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [BROWSER, *options.split(), "--disable-background-networking", profile, "--dump-dom", frame.as_uri()],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=True,
    )
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    found = re.search(r"width=(\d+);", done.stdout.rpartition("</iframe>")[2])
    assert found is not None, done.stderr
    return int(found[1]), "\n".join(complaints)


@pytest.mark.long
@pytest.mark.skipif(BROWSER is None, reason="needs chromium or Chrome on the path")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_fits_its_window_and_the_browser_has_no_complaints(page, width, tmp_path):
    assert opened(page.html(), width, tmp_path) == (width, "")
