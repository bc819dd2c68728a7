"""Reads the journal of a training: the data of its curves, its report and the list of runs.

The first metric of a line {"top1": per cent, ..., "images": number} selects the weights. Other tasks have others.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixlab.errors import UserError
from mixlab.files import translate_read_errors
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval

Line = dict[str, Any]


def selecting_metric(metrics: Mapping[str, Any]) -> str:
    """The name of the metric that selects the weights."""
    return next(iter(metrics))


def selecting_score(metrics: Mapping[str, Any]) -> float:
    """The value of the metric that selects the weights."""
    return metrics[selecting_metric(metrics)]


def validation_estimate(metrics: Line) -> Estimate:
    """The metric that selects the weights in per cent; an accuracy has an interval over the validation images."""
    score, images = selecting_score(metrics), metrics["images"]
    if selecting_metric(metrics) == "top1":
        return proportion_interval(score * images / 100, images)
    return Estimate(score, None, None, images, "%")


def metric_title(name: str) -> str:
    """A metric in words, for tables and pages."""
    return "top-1" if name == "top1" else name


@dataclass(frozen=True)
class History:
    """The lines of a journal by kind, oldest first. Numbers that were not finite are None."""

    steps: list[Line] = field(default_factory=list)
    epochs: list[Line] = field(default_factory=list)
    resumed: list[Line] = field(default_factory=list)
    skipped: list[Line] = field(default_factory=list)
    averaged: list[Line] = field(default_factory=list)
    ridges: list[Line] = field(default_factory=list)
    stopped_early: list[Line] = field(default_factory=list)
    end: Line | None = None

    @property
    def step(self) -> int:
        """The last recorded step."""
        lines = (*self.steps[-1:], *self.epochs[-1:], *self.resumed[-1:])
        return max((line["step"] for line in lines), default=0)

    @property
    def best(self) -> Line | None:
        """The epoch with the best validation score; on a tie the last one. Its weights are the run's weights."""
        evaluated = [epoch for epoch in self.epochs if epoch["validation"] is not None]
        return max(reversed(evaluated), key=lambda epoch: selecting_score(epoch["validation"]), default=None)

    @property
    def validation(self) -> Line | None:
        """The metrics of the run's weights on the validation images; None without a validation split."""
        if self.averaged:
            return self.averaged[-1]["validation"]
        return self.best and self.best["validation"]

    @property
    def seconds(self) -> float | None:
        """Training time of all complete epochs; None without one."""
        return self.epochs[-1]["seconds"] if self.epochs else None


def read_history(path: Path) -> History:
    """Read a journal, which may be missing or still growing: an incomplete last line is ignored. Raises UserError."""
    with translate_read_errors(path):
        written = path.read_bytes() if path.exists() else b""
    lines = _parsed(written[: written.rfind(b"\n") + 1].splitlines(), path)  # str would also split at U+2028
    kinds: dict[str, list[Line]] = {}
    for line in lines:
        kinds.setdefault(line["kind"], []).append(line)
    kind_of_field = {"steps": "step", "epochs": "epoch", "ridges": "ridge"}
    kind_of_field |= {kind: kind for kind in ("resumed", "skipped", "averaged", "stopped_early")}
    fields = {name: kinds.get(kind, []) for name, kind in kind_of_field.items()}
    return History(**fields, end=kinds["end"][-1] if "end" in kinds else None)


def _parsed(lines: Iterable[bytes], path: Path) -> Iterable[Line]:
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{path} is damaged in line {number} ({error}): it was truncated or edited. Train again, or copy the "
                "run again."
            ) from error
