import io
import sys

import pytest

from mixlab.report.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, **options) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("train [mixer]", total=4, **options) as advance:
        for step in range(4):
            advance(1, f"loss 0.{step}")
    return stream.getvalue()


def test_a_pipe_shows_nothing(monkeypatch):
    assert run(monkeypatch, io.StringIO()) == ""


def test_quiet_shows_nothing_on_a_terminal(monkeypatch):
    assert run(monkeypatch, Terminal(), quiet=True) == ""


def test_a_terminal_shows_the_label_the_count_and_the_text(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    shown = run(monkeypatch, Terminal())
    assert "train [mixer]" in shown
    assert "4/4" in shown
    assert "loss 0.3" in shown
