"""Runs the command in the process of the tests, in an empty folder for each test."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mixlab.cli.main import main


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


Run = Callable[..., Ended]
Refused = Callable[..., str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty, with the store below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIXLAB_RUNS", raising=False)
    return tmp_path


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str | Path) -> Ended:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return Ended(stopped.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def pets(here: Path, pets: Path) -> Path:
    """The folder of pets, relative to the current folder."""
    return pets.relative_to(here)


@pytest.fixture
def train() -> tuple[str, ...]:
    """Arguments for 3 steps of a Mixer with one block of 8 channels, on 8x8 pixels, without timed compute modes."""
    config = "{ channels = 8, token_hidden = 8, channel_hidden = 8, depth = 1 }"
    settings = ("image_size=8", "steps=3", "batch=8", "speed=off", f"config={config}")
    return ("train", "--model", "mixer_nano", *(word for setting in settings for word in ("--set", setting)))


@pytest.fixture
def trained(run: Run, train: tuple[str, ...], pets: Path) -> Path:
    """A finished run of three steps on pets/."""
    assert run(*train, "--data", f"folder:{pets}", "--out", "run", "--quiet").status == 0
    return Path("run")


def _everything_in(folder: Path) -> dict[str, bytes | None]:
    """Every file with its content, and every folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


@pytest.fixture
def refused(run: Run, here: Path) -> Refused:
    """Runs a command that must be refused without changing a file; returns the error message."""

    def refused(*arguments: str | Path) -> str:
        before = _everything_in(here)
        ended = run(*arguments)
        assert (ended.status, ended.out) == (2, ""), ended.err
        assert ended.err.startswith("mixlab: ") and ended.err.endswith("\n")
        assert ended.err.count("\n") == 1, "one sentence is one line"
        assert _everything_in(here) == before
        return ended.err.removeprefix("mixlab: ").rstrip("\n")

    return refused
