"""A training's journal, read in one go: what its curves, its page and a list of runs are made from."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixlab.errors import UserError

Line = dict[str, Any]


@dataclass(frozen=True)
class History:
    """The journal's lines by kind, oldest first."""

    steps: list[Line] = field(default_factory=list)
    epochs: list[Line] = field(default_factory=list)
    resumed: list[Line] = field(default_factory=list)
    skipped: list[Line] = field(default_factory=list)
    averaged: list[Line] = field(default_factory=list)
    ridges: list[Line] = field(default_factory=list)
    end: Line | None = None

    @property
    def step(self) -> int:
        """The last step that is written down."""
        lines = (*self.steps[-1:], *self.epochs[-1:], *self.resumed[-1:])
        return max((line["step"] for line in lines), default=0)

    @property
    def best(self) -> Line | None:
        """The epoch that validation liked best, the last of equals; its weights are the ones kept."""
        evaluated = [epoch for epoch in self.epochs if epoch["validation"] is not None]
        return max(reversed(evaluated), key=lambda epoch: epoch["validation"]["top1"], default=None)

    @property
    def validation(self) -> Line | None:
        """{"top1": per cent, "images"} of the weights that are kept; None where there is no validation part."""
        if self.averaged:
            return self.averaged[-1]["validation"]
        return self.best and self.best["validation"]

    @property
    def seconds(self) -> float | None:
        """Of the steps of all epochs that are closed; None where none is."""
        return self.epochs[-1]["seconds"] if self.epochs else None


def read_history(path: Path) -> History:
    """Of a journal that may not be there yet, or whose last line is being written."""
    written = path.read_bytes() if path.exists() else b""
    lines = _parsed(written[: written.rfind(b"\n") + 1].splitlines(), path)
    kinds: dict[str, list[Line]] = {}
    for line in lines:
        kinds.setdefault(line["kind"], []).append(line)
    named = {"steps": "step", "epochs": "epoch", "ridges": "ridge"}
    same = {kind: kind for kind in ("resumed", "skipped", "averaged")}
    found = {name: kinds.get(kind, []) for name, kind in (named | same).items()}
    return History(**found, end=kinds["end"][-1] if "end" in kinds else None)


def _parsed(lines: Iterable[bytes], path: Path) -> Iterable[Line]:
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{path} is broken in line {number} ({error}): it was cut off or changed by hand. Train again, or copy "
                "the run anew."
            ) from error
