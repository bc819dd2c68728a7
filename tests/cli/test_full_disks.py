"""Whichever file does not fit, the command ends with one sentence and leaves no run, or one that can be resumed."""

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mixlab import files


def test_a_full_disk_at_any_file_of_a_training(run, pets, train, monkeypatch):
    words = (*train, "--data", f"folder:{pets}", "--quiet", "--out", "run")
    for files_that_fit in range(14):
        monkeypatch.setattr(files.os, "fsync", fails_after(files_that_fit))
        ended = run(*words)
        assert (ended.status, ended.err.count("\n")) == (2, 1)
        assert re.search("run.*could not be written: the disk is full.*run again", ended.err)
        saved = sorted(Path("run").glob("checkpoints/*.safetensors"))
        assert bool(saved) == Path("run").exists()
        if saved:
            monkeypatch.setattr(files.os, "fsync", fails_after(99))
            assert run(*words).status == 0
            shutil.rmtree("run")
    monkeypatch.setattr(files.os, "fsync", fails_after(14))
    assert run(*words).status == 0


@pytest.fixture
def disk(here) -> Iterator[Path]:
    """A disk of 256 KiB."""
    disk = here / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_at_the_journal_the_checkpoints_or_the_report(run, disk, pets, train):
    words = (*train, "--data", f"folder:{pets}", "--quiet", "--out", "disk/new/run")
    named = set()
    for kibibytes in range(4, 72, 4):  # in steps of the disk's pages
        fill(disk, but=kibibytes)
        ended = run(*words)
        if ended.status:
            assert (ended.status, ended.err.count("\n")) == (2, 1)
            named.add(ended.err.partition(" could not be written: the disk is full")[0].rpartition("/")[2])
        shutil.rmtree(disk / "new", ignore_errors=True)
    assert {"run", "journal.jsonl", "report.html"} <= named
    assert any(name.startswith(("step-", "best")) for name in named)


@pytest.mark.parametrize("kibibytes", [0, 4, 16])
def test_results_are_printed_even_if_the_report_does_not_fit(run, disk, trained, kibibytes):
    fill(disk, but=kibibytes)
    ended = run("evaluate", trained, "--format", "csv", "--out", "disk/new/judged")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert ended.out.startswith("measure,class,value")
    assert ended.err.startswith("mixlab: disk/new/judged could not be written: the disk is full: free some space")
    assert [path.name for path in disk.rglob("*")] == ["filling"]


def fill(disk: Path, but: int) -> None:
    """Fill the disk, except for `but` KiB."""
    (disk / "filling").write_bytes(bytes(1024 * (256 - but)))


def fails_after(written: int) -> Callable[[int], None]:
    """An fsync that fails with a full disk after `written` files."""
    room = iter(range(written))

    def fsync(descriptor: int) -> None:
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fsync
