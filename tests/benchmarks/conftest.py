"""Benchmarks are scripts, which tests run in their own process."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def log_level_is_restored() -> Iterator[None]:
    """A script may log less. `setLevel` also clears what the loggers have cached."""
    log = logging.getLogger("mixlab")
    level = log.level
    yield
    log.setLevel(level)
