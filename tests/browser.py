"""The installed browser. A plugin of the tests."""

import json
import mimetypes
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import pytest

from loopback import Handler, Request, Serve

OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1400,900"),
    *("--enable-logging=stderr", "--disable-background-networking"),
)


@pytest.fixture
def browser(tmp_path: Path) -> list[str]:
    """The command of the browser with options, to which an address is added."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("needs chromium or Chrome on the path")
    return [found, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}"]


@pytest.fixture
def opened(browser: list[str], tmp_path: Path) -> Callable[[str, int], tuple[int, str]]:
    """A function that opens a page in a frame of the given width.

    It returns the width of the content in pixels, and the messages of the browser's console.
    """

    def open_page(html: str, width: int) -> tuple[int, str]:
        frame = tmp_path / "frame.html"
        frame.write_text(  # a frame, because a headless window is never narrower than 500 pixels
            f'<iframe style="width: {width}px; height: 800px; border: 0" srcdoc="{escape(html)}"></iframe>'
            "<script>onload = () => document.body.append("
            "`width=${document.querySelector('iframe').contentDocument.documentElement.scrollWidth};`)</script>",
            encoding="utf-8",
        )
        done = subprocess.run(
            [*browser, "--dump-dom", frame.as_uri()], capture_output=True, encoding="utf-8", timeout=120, check=True
        )
        found = re.search(r"width=(\d+);", done.stdout.rpartition("</iframe>")[2])
        assert found is not None, done.stderr
        return int(found[1]), "\n".join(_complaints(done.stderr))

    return open_page


RunInBrowser = Callable[..., Any]


@pytest.fixture
def run_in_browser(browser: list[str], serve: Serve) -> RunInBrowser:
    """A function that serves a folder and further files, and runs a script beside them in the browser.

    The script is a module. The function returns the value that the script passes to `report`. Other requests go to
    `forward`, which replies.
    """

    def run(folder: Path, script: str, files: Mapping[str, bytes], forward: Handler = _not_found) -> Any:
        values: list[Any] = []
        finished = threading.Event()
        page = f"""<!doctype html><script type="module">
            const report = (value) => fetch("/report", {{ method: "POST", body: JSON.stringify(value) }});
            try {{ {script} }} catch (error) {{ report({{ error: `${{error.stack}}` }}); }}
        </script>"""

        def answer(request: Request) -> None:
            path = request.path.lstrip("/")
            if path == "report":
                values.append(json.loads(request.body()))
                request.reply(b"")
                finished.set()
            elif path == "test.html":
                request.reply(page.encode(), Content_Type="text/html")
            elif path in files:
                request.reply(files[path])
            elif (folder / path).is_file():
                request.reply((folder / path).read_bytes(), Content_Type=_type_of(path))
            else:
                forward(request)

        process = subprocess.Popen(
            [*browser, "--remote-debugging-port=0", f"{serve(answer).address}/test.html"], stderr=subprocess.PIPE
        )
        finished.wait(120)
        process.terminate()
        _, log = process.communicate()
        if not values:
            raise AssertionError("\n".join(["The page did not answer.", *_complaints(log.decode())]))
        if isinstance(values[0], dict) and "error" in values[0]:
            raise AssertionError("\n".join([values[0]["error"], *_complaints(log.decode())]))
        return values[0]

    return run


def _not_found(request: Request) -> None:
    request.reply(b"", 404)


def _complaints(log: str) -> list[str]:
    """The messages of the console in the log of a browser."""
    return [line for line in log.splitlines() if ":CONSOLE" in line]


def _type_of(path: str) -> str:
    """As Python's http.server does."""
    return mimetypes.guess_type(path)[0] or "application/octet-stream"
