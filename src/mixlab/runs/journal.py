"""What happened in a training, as JSON lines: one every few steps, one an epoch."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mixlab.errors import UserError
from mixlab.files import translate_os_errors


class Journal:
    """Appends a line at a time; others can read it when `write` returns."""

    def __init__(self, path: Path):
        self._path = path
        self._file = path.open("ab", buffering=0)

    def write(self, kind: str, **values: Any) -> None:
        line = json.dumps({"kind": kind} | values, ensure_ascii=False) + "\n"
        with translate_os_errors(self._path):
            self._file.write(line.encode(errors="backslashreplace"))  # a file's name may be no text

    @property
    def bytes(self) -> int:
        """How long it is by now."""
        return self._file.tell()

    def cut(self, length: int) -> None:
        """Strike out what comes after so many bytes."""
        if self.bytes > length:
            self._file.truncate(length)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_journal(path: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind, oldest first."""
    try:
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]  # text also ends lines at U+2028
    except ValueError as error:
        raise UserError(
            f"{path} is broken ({error}): it was cut off or changed by hand. Train again, or copy the run anew."
        ) from error
    return [line for line in lines if line["kind"] == kind]
