"""The command `mixlab` itself: help, exit status, interrupts, internal errors and standard output."""

import errno
import os
import subprocess
import sys
from pathlib import Path

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


def test_a_path_that_the_system_refuses_is_one_sentence(run, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "private/x")

    monkeypatch.setattr(listing, "sizes_table", refused)
    sentence = "private/x can't be accessed: you have no permission: change the permissions of the path or choose "
    ended = run("models")
    assert (ended.status, ended.out, ended.err) == (2, "", f"mixlab: {sentence}another one.\n")


def test_an_os_error_without_a_file_name_has_a_traceback(run, monkeypatch):
    def broken(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(listing, "sizes_table", broken)
    with pytest.raises(PermissionError):
        run("models")


@pytest.mark.parametrize("words", [["models", "mixer_nano"], ["models", "--paper", "--format", "csv"], ["--help"]])
def test_a_closed_pipe_ends_the_command_silently(words):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "mixlab", *words]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, b"")


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of bash in which "mixlab" is the command."""
    line = f'mixlab() {{ "{sys.executable}" -m mixlab "$@"; }}; {command}'
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)


OUTPUT_FULL = (
    "mixlab: Standard output or a temporary file could not be written (No space left on device): free some space on "
    "its disk or choose another one.\n"
)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as on Linux")
@pytest.mark.parametrize("words", ["models --paper", "--help", "--version"])
def test_a_full_standard_output_is_a_user_error(words):
    ended = shell(f"mixlab {words} >/dev/full")
    assert (ended.returncode, ended.stderr) == (2, OUTPUT_FULL)


BROKEN_DISK = """
import sys
from mixlab.cli import main

def broken(_):
    raise OSError(int(sys.argv[1]), "the reason")

main._run = broken
main.main(["models"])
"""


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOTCONN], ids=errno.errorcode.get)
def test_a_disk_that_fails_without_a_file_name_is_a_user_error(code):
    ended = subprocess.run([sys.executable, "-c", BROKEN_DISK, str(code)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (
        2,
        "mixlab: Standard output or a file could not be read or written (the reason): check the disks and network "
        "drives and run again.\n",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as on Linux")
def test_a_full_standard_error_does_not_change_the_status():
    assert shell("mixlab inspect nowhere 2>/dev/full").returncode == 2
    ended = shell("mixlab --version 2>/dev/full")
    assert (ended.returncode, ended.stdout) == (0, f"mixlab {mixlab.__version__}\n")


@pytest.mark.parametrize("words", ["models", "--help"])
def test_a_closed_standard_output_is_silent(words):
    ended = shell(f"mixlab {words} >&-")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_with_closed_standard_error_messages_are_not_results():
    ended = shell("mixlab inspect nowhere 2>&-")
    assert (ended.returncode, ended.stdout) == (2, "")


def test_a_command_with_all_streams_closed_writes_its_files(tmp_path: Path):
    figure = tmp_path / "schedule.png"
    ended = shell(
        f"mixlab train small_images_vit --data digits --set speed=off --dry-run --figure {figure} <&- >&- 2>&-"
    )
    assert ended.returncode == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
