"""Lists the runs below folders, with their state and results."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mixlab.errors import UserError
from mixlab.report.table import Cell, Column, Table
from mixlab.runs.folder import Run, open_any_run
from mixlab.runs.history import History, metric_title, read_history, selecting_metric, validation_estimate
from mixlab.stats.estimate import Estimate

_BEFORE_SCORES = (
    Column("run", "run"),
    Column("state", "state"),
    Column("model", "model"),
    Column("data", "data"),
    Column("epochs", "epochs"),
    Column("planned", "planned epochs"),
)
_AFTER_SCORES = (
    Column("seconds", "training time", "s", digits=0),
    Column("when", "last written"),
)


@dataclass(frozen=True)
class RunSummary:
    """A run with its recipe and journal. The state of a killed training is still "running".

    `when` is the time of the last write.
    """

    run: Run
    recipe: dict[str, Any]
    history: History
    when: datetime

    @property
    def score(self) -> dict[str, Estimate]:
        """The metric that selects the weights, by name; empty without a validation split."""
        evaluated = self.history.validation
        return {} if evaluated is None else {selecting_metric(evaluated): validation_estimate(evaluated)}

    @property
    def seconds(self) -> float | None:
        """The training time so far, without validation."""
        return self.history.end["training_seconds"] if self.history.end else self.history.seconds

    @property
    def row(self) -> dict[str, Cell]:
        """The row of the table of runs."""
        return {
            "run": str(self.run.path),
            "state": self.run.state,
            "model": self.recipe.get("model"),
            "data": self.recipe.get("data"),
            "epochs": self.history.epochs[-1]["epoch"] if self.history.epochs else 0,
            "planned": self.recipe.get("epochs"),
            "top1": None,
            **self.score,
            "seconds": self.seconds,
            "when": f"{self.when:%Y-%m-%d %H:%M}",
        }


@dataclass(frozen=True)
class DamagedRun:
    """A run's folder that can't be read, with the error message."""

    path: Path
    reason: str

    @property
    def row(self) -> dict[str, Cell]:
        """The row of the table of runs."""
        return {"run": str(self.path), "state": "damaged"}


def runs_below(folders: Iterable[Path]) -> Iterator[Path]:
    """Every run's folder in `folders`, at any depth. Hidden folders and the inside of runs are not searched.

    Raises UserError if one of `folders` does not exist.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}: give a run's folder, or a folder that contains runs.")
        for name, inner, files in os.walk(folder):
            if {"status.json", "journal.jsonl"} & set(files):
                inner.clear()
                yield Path(name)
            inner[:] = sorted(folder_name for folder_name in inner if not folder_name.startswith("."))


def read_run_summary(path: Path) -> RunSummary:
    """The summary of a run in any state. Raises UserError if the folder is damaged."""
    run = open_any_run(path)
    if run.state == "done":
        run.check_complete()
    written = max(file.stat().st_mtime for file in (run.journal, path / "status.json") if file.exists())
    return RunSummary(run, run.recipe, read_history(run.journal), datetime.fromtimestamp(written))


def list_runs(folders: Iterable[Path]) -> list[RunSummary | DamagedRun]:
    """All runs in `folders`, at any depth: the last written first, damaged ones at the end."""
    readable: list[RunSummary] = []
    damaged: list[DamagedRun] = []
    for path in runs_below(folders):
        try:
            readable.append(read_run_summary(path))
        except UserError as error:
            damaged.append(DamagedRun(path, str(error)))
    readable.sort(key=lambda summary: summary.when, reverse=True)
    return [*readable, *damaged]


def score_columns(runs: Iterable[RunSummary]) -> list[Column]:
    """A column for each metric that selects the weights of a run; for accuracy if there are no scores."""
    metrics = dict.fromkeys(metric for run in runs for metric in run.score) or ["top1"]
    return [
        Column(metric, f"validation {metric_title(metric)}", "%", digits=1, uncertainty="interval")
        for metric in metrics
    ]


def _columns(runs: Iterable[RunSummary | DamagedRun]) -> list[Column]:
    readable = [run for run in runs if isinstance(run, RunSummary)]
    return [*_BEFORE_SCORES, *score_columns(readable), *_AFTER_SCORES]


def runs_table(runs: list[RunSummary | DamagedRun], searched: str) -> Table:
    """The human-readable table of runs. `searched` names the folders that were searched."""
    notes = [run.reason for run in runs if isinstance(run, DamagedRun)]
    if any(isinstance(run, RunSummary) and "top1" in run.score for run in runs):
        notes.insert(0, "Brackets: 95 % intervals over the validation split, on which the weights were selected.")
    if not runs:
        notes = [f"There are no runs in {searched}: `mixlab train` writes runs."]
    return Table("Runs", _columns(runs), [run.row for run in runs], notes)


def runs_full_table(runs: list[RunSummary | DamagedRun]) -> Table:
    """The machine-readable table of runs."""
    rows = [run.row | {"problem": run.reason if isinstance(run, DamagedRun) else None} for run in runs]
    return Table("Runs", [*_columns(runs), Column("problem", "problem")], rows)
