"""The command `mixlab` itself: help, exit status, interrupts and internal errors."""

import os
import subprocess
import sys

import pytest

import mixlab
from mixlab.cli.main import VERBS
from mixlab.zoo import listing


def test_without_arguments_the_commands_are_listed(run):
    ended = run()
    assert (ended.status, ended.err) == (0, "")
    assert all(verb in ended.out for verb in VERBS)


def test_the_version_is_printed(run):
    ended = run("--version")
    assert (ended.status, ended.out, ended.err) == (0, f"mixlab {mixlab.__version__}\n", "")


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_a_help(run, verb, option):
    ended = run(verb, option)
    assert ended.status == 0
    assert "Usage: mixlab" in ended.out and "--help" in ended.out


def test_ctrl_c_ends_without_a_traceback(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "sizes_table", interrupted)
    ended = run("models")
    assert (ended.status, ended.out, ended.err) == (130, "", "")


def test_an_internal_error_has_a_traceback(run, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(listing, "sizes_table", broken)
    with pytest.raises(ZeroDivisionError):
        run("models")


@pytest.mark.parametrize("words", [["models", "mixer_nano"], ["models", "--paper", "--format", "csv"], ["--help"]])
def test_a_closed_pipe_ends_the_command_silently(words):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "mixlab", *words]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, b"")
