import io
import sys

import pytest

from mixlab.report.progress import log_without_bar, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_progress(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, **options) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("train [mixer]", total=4, **options) as advance:
        for step in range(4):
            advance(1, f"loss 0.{step}")
    return stream.getvalue()


def test_no_bar_is_shown_without_a_terminal(monkeypatch):
    assert run_progress(monkeypatch, io.StringIO()) == ""


def test_nothing_is_shown_if_quiet(monkeypatch):
    assert run_progress(monkeypatch, Terminal(), quiet=True) == ""


def test_a_terminal_shows_the_label_the_count_and_the_text(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    output = run_progress(monkeypatch, Terminal())
    assert "train [mixer]" in output
    assert "4/4" in output
    assert "loss 0.3" in output


@pytest.mark.parametrize(
    ("stream", "quiet", "shown"),
    [(io.StringIO, False, "epoch 1\n"), (io.StringIO, True, ""), (Terminal, False, "")],
)
def test_a_line_replaces_the_bar_without_a_terminal(monkeypatch, stream, quiet, shown):
    monkeypatch.setattr(sys, "stderr", stream())
    log_without_bar("epoch 1", quiet=quiet)
    assert sys.stderr.getvalue() == shown  # pyright: ignore[reportAttributeAccessIssue]
