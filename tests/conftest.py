"""Fixtures that several folders of tests share."""

import os
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
