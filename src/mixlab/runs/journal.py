"""Writes the journal of a training: JSON lines, one every few steps and one per epoch. `History` reads it."""

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mixlab.files import translate_write_errors


class Journal:
    """Appends lines to a file. Other processes can read a line as soon as `write` returns."""

    def __init__(self, path: Path):
        self._path = path
        with translate_write_errors(path):
            self._file = path.open("ab", buffering=0)

    def write(self, kind: str, **values: Any) -> None:
        """Append {"kind": kind, ...}. Strict JSON: a number that is NaN or infinite becomes null."""
        line = json.dumps({"kind": kind} | _finite(values), ensure_ascii=False, allow_nan=False) + "\n"
        with translate_write_errors(self._path):
            self._file.write(line.encode(errors="backslashreplace"))  # a file name need not be valid text

    @property
    def bytes(self) -> int:
        """The current length of the file."""
        return self._file.tell()

    def truncate(self, length: int) -> None:
        """Remove everything after the first `length` bytes."""
        with translate_write_errors(self._path):
            if self.bytes > length:
                self._file.truncate(length)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
