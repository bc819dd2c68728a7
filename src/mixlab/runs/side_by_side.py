"""Compares runs: their different settings, the end of their curves, and their results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mixlab.report.table import Cell, Column, Table
from mixlab.runs.history import metric_title, selecting_metric, selecting_score
from mixlab.runs.run_list import RunSummary, read_run_summary, score_columns
from mixlab.stats.intervals import median_interval

_UNSET = "–"


@dataclass(frozen=True)
class RunComparison:
    """A comparison of runs, in the order given."""

    runs: Sequence[RunSummary]

    @cached_property
    def names(self) -> list[str]:
        """A name for each run: the name of its folder, or its path if the names are not unique."""
        paths = [summary.run.path for summary in self.runs]
        names = [path.name for path in paths]
        return names if len(set(names)) == len(paths) else [str(path) for path in paths]

    @cached_property
    def differing(self) -> dict[str, list[str]]:
        """The keys of recipe, plan, device and versions that differ between the runs, with the value of each run."""
        settings = [_settings(summary) for summary in self.runs]
        keys = dict.fromkeys(key for run_settings in settings for key in run_settings)
        values = {key: [run_settings.get(key, _UNSET) for run_settings in settings] for key in keys}
        return {key: run_values for key, run_values in values.items() if len(set(run_values)) > 1}

    def tables(self) -> list[Table]:
        """The human-readable tables."""
        return [self.settings_table(), self.ends_table(), self.results_table()]

    def settings_table(self) -> Table:
        """The settings that differ: a row per key, a column per run."""
        columns = [Column("key", "key"), *(Column(str(index), name) for index, name in enumerate(self.names))]
        rows: list[dict[str, Cell]] = [
            {"key": key, **{str(index): value for index, value in enumerate(values)}}
            for key, values in self.differing.items()
        ]
        notes = [] if rows else ["Recipe, plan, device and versions are the same."]
        return Table("Different settings", columns, rows, notes)

    def ends_table(self) -> Table:
        """The values at the end of the learning curves."""
        metrics = " or ".join(metric_title(column.key) for column in score_columns(self.runs))
        columns = [
            Column("run", "run"),
            Column("epoch", "last epoch"),
            Column("loss", "training loss", "nats"),
            Column("training", f"training {metrics}", "%", digits=1),
            Column("validation", f"validation {metrics}", "%", digits=1),
            Column("best_epoch", "best epoch"),
        ]
        note = f"Training {metrics} is measured on augmented images during the epoch, while the weights change."
        return Table("End of the curves", columns, [self._end(index) for index in range(len(self.runs))], [note])

    def results_table(self) -> Table:
        """Accuracy, time, throughput and memory."""
        columns = [
            Column("run", "run"),
            Column("state", "state"),
            *score_columns(self.runs),
            Column("seconds", "training time", "s", digits=0),
            Column("images_per_second", "throughput", "samples/s", digits=0, uncertainty="interval"),
            Column("peak_gib", "peak memory", "GiB", digits=2),
        ]
        notes = [
            "Brackets: 95 % intervals of these single trainings, over the validation split and over times. To compare "
            "settings, several seeds of each are necessary: `mixlab compare` trains them.",
        ]
        return Table("Results", columns, [self._result(index) for index in range(len(self.runs))], notes)

    def full_table(self) -> Table:
        """The machine-readable table: a row per run with its results, end of curves, and all settings that differ."""
        columns = [*self.results_table().columns, *self.ends_table().columns[1:], *map(_plain_column, self.differing)]
        rows = [
            self._result(index)
            | self._end(index)
            | {"run": str(self.runs[index].run.path)}
            | {key: values[index] for key, values in self.differing.items()}
            for index in range(len(self.runs))
        ]
        return Table("Runs compared", columns, rows)

    def _end(self, index: int) -> dict[str, Cell]:
        history = self.runs[index].history
        row: dict[str, Cell] = {"run": self.names[index]}
        if history.epochs:
            last = history.epochs[-1]
            metric = selecting_metric(last["validation"]) if last["validation"] else "top1"
            row |= {"epoch": last["epoch"], "loss": last["train"]["loss"], "training": last["train"].get(metric)}
            row["validation"] = last["validation"] and selecting_score(last["validation"])
        return row | {"best_epoch": history.best["epoch"]} if history.best else row

    def _result(self, index: int) -> dict[str, Cell]:
        summary = self.runs[index]
        speeds = [step["images_per_second"] for step in summary.history.steps]
        peak = (summary.history.end or {}).get("peak_bytes")
        return {
            "run": self.names[index],
            "state": summary.run.state,
            "top1": None,
            **summary.score,
            "seconds": summary.seconds,
            "images_per_second": median_interval(speeds, "samples/s") if speeds else None,
            "peak_gib": peak and peak / 2**30,
        }


def compare_runs(paths: Sequence[Path]) -> RunComparison:
    """Read the runs at `paths`. Raises UserError if one is damaged."""
    return RunComparison([read_run_summary(path) for path in paths])


def _plain_column(key: str) -> Column:
    return Column(key, key)


def _settings(summary: RunSummary) -> dict[str, str]:
    """Everything that can affect a result, by key with dots between sections."""
    recipe = {key: value for key, value in summary.recipe.items() if key != "expected"}
    environment = summary.run.environment
    execution = {"plan": summary.run.plan, "device": environment["device"], "versions": environment["versions"]}
    return _flat(recipe) | _flat(execution)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": str(value)}
    return flat
