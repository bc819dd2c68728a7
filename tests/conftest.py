"""Fixtures that several folders of tests share."""

import os
from pathlib import Path

import pytest
import torch


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
