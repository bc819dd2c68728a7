"""The trainings below a folder: in what state they are, and what each has reached."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mixlab.errors import UserError
from mixlab.report.table import Cell, Column, Table
from mixlab.runs.folder import Run, open_any_run
from mixlab.runs.history import History, read_history
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval

COLUMNS = (
    Column("run", "run"),
    Column("state", "state"),
    Column("model", "model"),
    Column("data", "data"),
    Column("epochs", "epochs"),
    Column("planned", "of"),
    Column("top1", "validation top-1", "%", digits=1, uncertainty="interval"),
    Column("seconds", "steps' time", "s", digits=0),
    Column("when", "last written"),
)


@dataclass(frozen=True)
class RunSummary:
    """A run with what its folder tells. A training that was killed still says that it is running."""

    run: Run
    recipe: dict[str, Any]
    history: History
    when: datetime

    @property
    def top1(self) -> Estimate | None:
        """Validation's accuracy of the weights that are kept, over its images."""
        if (evaluated := self.history.validation) is None:
            return None
        return proportion_interval(evaluated["top1"] * evaluated["images"] / 100, evaluated["images"])

    @property
    def seconds(self) -> float | None:
        return self.history.end["training_seconds"] if self.history.end else self.history.seconds

    @property
    def row(self) -> dict[str, Cell]:
        return {
            "run": str(self.run.path),
            "state": self.run.state,
            "model": self.recipe.get("model"),
            "data": self.recipe.get("data"),
            "epochs": self.history.epochs[-1]["epoch"] if self.history.epochs else 0,
            "planned": self.recipe.get("epochs"),
            "top1": self.top1,
            "seconds": self.seconds,
            "when": f"{self.when:%Y-%m-%d %H:%M}",
        }


@dataclass(frozen=True)
class DamagedRun:
    """A run's folder that can't be read, with the sentence that says why."""

    path: Path
    reason: str

    @property
    def row(self) -> dict[str, Cell]:
        return {"run": str(self.path), "state": "damaged"}


def runs_below(folders: Iterable[Path]) -> Iterator[Path]:
    """Every folder that was begun as a run's, without those inside of runs and hidden ones; UserError for no folder."""
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}: give a run's folder, or one that holds runs.")
        for name, inner, files in os.walk(folder):
            if {"status.json", "journal.jsonl"} & set(files):
                inner.clear()
                yield Path(name)
            inner[:] = sorted(one for one in inner if not one.startswith("."))


def read_run_summary(path: Path) -> RunSummary:
    """Raises UserError where the folder is damaged."""
    run = open_any_run(path)
    if run.state == "done":
        run.check_complete()
    written = max(file.stat().st_mtime for file in (run.journal, path / "status.json") if file.exists())
    return RunSummary(run, run.recipe, read_history(run.journal), datetime.fromtimestamp(written))


def list_runs(folders: Iterable[Path]) -> list[RunSummary | DamagedRun]:
    """The latest first, and the damaged ones after them."""
    whole: list[RunSummary] = []
    damaged: list[DamagedRun] = []
    for path in runs_below(folders):
        try:
            whole.append(read_run_summary(path))
        except UserError as error:
            damaged.append(DamagedRun(path, str(error)))
    whole.sort(key=lambda one: one.when, reverse=True)
    return [*whole, *damaged]


def runs_table(found: list[RunSummary | DamagedRun], where: str) -> Table:
    notes = [one.reason for one in found if isinstance(one, DamagedRun)]
    if any(isinstance(one, RunSummary) and one.top1 for one in found):
        notes.insert(0, "Brackets are 95 % intervals over the validation images that chose the weights.")
    if not found:
        notes = [f"There are none below {where}: `mixlab train` leaves them there."]
    return Table("Runs", COLUMNS, [one.row for one in found], notes)


def runs_full_table(found: list[RunSummary | DamagedRun]) -> Table:
    rows = [one.row | {"problem": one.reason if isinstance(one, DamagedRun) else None} for one in found]
    return Table("Runs", [*COLUMNS, Column("problem", "problem")], rows)
