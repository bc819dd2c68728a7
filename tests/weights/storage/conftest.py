"""Fixture shared by the tests of this folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mixlab.errors import UserError
from mixlab.weights.storage.weights_file import open_weights_file


@pytest.fixture
def refused() -> Callable[[Path, str], None]:
    """Checks that opening a path and reading its tensors fails with one sentence that matches a pattern."""

    def check(path: Path, pattern: str) -> None:
        with pytest.raises(UserError, match=pattern) as raised:
            checkpoint = open_weights_file(path)
            for name in checkpoint.stored:
                checkpoint.tensor(name)
        sentence = str(raised.value)
        assert str(path) in sentence
        assert "\n" not in sentence
        assert sentence.endswith(".")

    return check
