"""A fixture that several files of these tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mixlab.errors import UserError
from mixlab.weights.storage.checkpoint import open_checkpoint


@pytest.fixture
def refused() -> Callable[[Path, str], None]:
    """Opening this path and reading its tensors ends in one sentence, which has these words."""

    def check(path: Path, words: str) -> None:
        with pytest.raises(UserError, match=words) as raised:
            checkpoint = open_checkpoint(path)
            for name in checkpoint.stored:
                checkpoint.tensor(name)
        sentence = str(raised.value)
        assert str(path) in sentence
        assert "\n" not in sentence
        assert sentence.endswith(".")

    return check
