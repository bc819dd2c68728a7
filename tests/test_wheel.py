"""What pip installs is whole: the data files travel with the code."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("mixlab/")}
    package = ROOT / "src"
    expected = {
        path.relative_to(package).as_posix()
        for path in (package / "mixlab").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == expected
