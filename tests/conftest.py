"""Fixtures that several folders of tests share."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.data.dataset import Dataset, Part


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the CIFAR-10 archive and the ReaL labels, which are too large for the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MIXLAB_DATA", beside))
    if not folder.is_dir():
        pytest.skip("needs the data of $MIXLAB_DATA or ../shared/data, and neither is here")
    return folder


@pytest.fixture
def no_shape_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile can't trace through the checks that jaxtyping adds in tests."""
    from jaxtyping import config

    monkeypatch.setattr(config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def shades() -> Dataset:
    """In memory: dark and light pictures of 8x8 pixels; 40 to train on, 12 for validation, 12 for the test."""
    random = np.random.default_rng(0)

    def part(name: str, pictures: int) -> Part:
        labels = np.arange(pictures) % 2
        images = 60 + 120 * labels[:, None, None, None] + random.integers(-40, 40, size=(pictures, 8, 8, 3))
        return Part([f"{name}/{i}" for i in range(pictures)], labels, list(images.astype(np.uint8)))

    parts = {"train": part("train", 40), "validation": part("validation", 12), "test": part("test", 12)}
    return Dataset("shades", ("dark", "light"), parts)


@pytest.fixture
def tiny_recipe() -> dict[str, Any]:
    """Six steps, an epoch and a fifth, of a Mixer with one block of eight channels, without a trial."""
    return {
        "model": "mixer_nano",
        "data": "shades",
        "image_size": 8,
        "steps": 6,
        "batch": 8,
        "speed": "off",
        "config": {"patch_size": 4, "channels": 8, "token_hidden": 8, "channel_hidden": 16, "depth": 1},
        "optimizer": {"learning_rate": 1e-2, "weight_decay": 0.05},
    }


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str, int], tuple[int, str]]:
    """A function of a page and a width: opens the page in a frame of so many pixels in the installed browser, and
    returns the width that its content takes and what the browser complains about.
    """
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs chromium or Chrome on the path")
    options = "--headless --no-sandbox --disable-gpu --hide-scrollbars --enable-logging=stderr --window-size=1400,900"

    def open_page(html: str, width: int) -> tuple[int, str]:
        frame = tmp_path / "frame.html"
        frame.write_text(  # a frame, because a headless window is never narrower than 500 pixels
            f'<iframe style="width: {width}px; height: 800px; border: 0" srcdoc="{escape(html)}"></iframe>'
            "<script>onload = () => document.body.append("
            "`width=${document.querySelector('iframe').contentDocument.documentElement.scrollWidth};`)</script>",
            encoding="utf-8",
        )
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        done = subprocess.run(
            [browser, *options.split(), "--disable-background-networking", profile, "--dump-dom", frame.as_uri()],
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=True,
        )
        complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        found = re.search(r"width=(\d+);", done.stdout.rpartition("</iframe>")[2])
        assert found is not None, done.stderr
        return int(found[1]), "\n".join(complaints)

    return open_page
