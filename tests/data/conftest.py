"""Fixtures that write small images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from mixlab.data.dataset import Split

WriteTree = Callable[..., Path]


@pytest.fixture
def write_tree(tmp_path: Path) -> WriteTree:
    """Writes different images to a folder: `write_tree("train/cat", 3)` or `write_tree("cat/a.png")`."""
    generator = np.random.default_rng(0)

    def write(path_or_folder: str, count: int | None = None, root: str = "pets") -> Path:
        names = [path_or_folder] if count is None else [f"{path_or_folder}/{number:03d}.png" for number in range(count)]
        for name in names:
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(path, format="png")
        return tmp_path / root

    return write


@pytest.fixture
def noise() -> Split:
    """24 images of 9x7 pixels with three classes, in memory."""
    images: UInt8[np.ndarray, "24 9 7 3"] = np.random.default_rng(1).integers(0, 256, (24, 9, 7, 3), dtype=np.uint8)
    return Split([f"noise/{i}" for i in range(24)], np.arange(24) % 3, list(images))
