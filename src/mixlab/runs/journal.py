"""What happened in a training, as JSON lines: one every few steps, one an epoch."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Journal:
    """Appends a line at a time; each is on disk when `write` returns."""

    def __init__(self, path: Path):
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, kind: str, **values: Any) -> None:
        self._file.write(json.dumps({"kind": kind} | values, ensure_ascii=False) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_journal(path: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind, oldest first."""
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["kind"] == kind]
