"""What `make` would run, without running it."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEMO, ALL = '".[baselines]"', '".[audio,baselines,data,deploy,explain,papers,ray,segmentation,serve,tfds,track,dev]"'

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    return tmp_path


def installs(folder: Path, target: str) -> list[str]:
    """The extras that `make target` installs."""
    done = subprocess.run(["make", "-n", target], cwd=folder, capture_output=True, text=True, check=True)
    return [line.rpartition(" ")[2] for line in done.stdout.splitlines() if "pip install" in line]


def test_the_demo_installs_only_what_it_needs(folder):
    assert installs(folder, "demo") == [DEMO]
    assert installs(folder, "test") == [ALL]


def test_after_the_demo_the_tests_install_the_rest(folder):
    (folder / ".venv/.installed-demo").touch()
    assert installs(folder, "demo") == []
    assert installs(folder, "test") == [ALL]


def test_after_the_tests_the_demo_installs_nothing(folder):
    (folder / ".venv/.installed").touch()
    assert installs(folder, "demo") == installs(folder, "test") == []
