"""Trainings side by side: what was set otherwise, where their curves end, and what each has reached."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mixlab.report.table import Cell, Column, Table
from mixlab.runs.run_list import RunSummary, read_run_summary
from mixlab.stats.intervals import median_interval

_UNSET = "–"


@dataclass(frozen=True)
class RunComparison:
    runs: Sequence[RunSummary]

    @cached_property
    def names(self) -> list[str]:
        """What tells the runs' folders apart: their last names where these differ."""
        paths = [one.run.path for one in self.runs]
        last = [path.name for path in paths]
        return last if len(set(last)) == len(paths) else [str(path) for path in paths]

    @cached_property
    def differing(self) -> dict[str, list[str]]:
        """The keys of recipe, plan and device that are not the same in all runs, with each run's value."""
        settings = [_settings(one) for one in self.runs]
        keys = dict.fromkeys(key for of_run in settings for key in of_run)
        values = {key: [of_run.get(key, _UNSET) for of_run in settings] for key in keys}
        return {key: found for key, found in values.items() if len(set(found)) > 1}

    def tables(self) -> list[Table]:
        return [self.settings_table(), self.ends_table(), self.results_table()]

    def settings_table(self) -> Table:
        columns = [Column("key", "key"), *(Column(str(place), name) for place, name in enumerate(self.names))]
        rows: list[dict[str, Cell]] = [
            {"key": key, **{str(place): value for place, value in enumerate(values)}}
            for key, values in self.differing.items()
        ]
        same = [] if rows else ["Recipe, plan, device and versions are the same."]
        return Table("What was set otherwise", columns, rows, same)

    def ends_table(self) -> Table:
        columns = [
            Column("run", "run"),
            Column("epoch", "last epoch"),
            Column("loss", "training loss", "nats"),
            Column("training", "training top-1", "%", digits=1),
            Column("validation", "validation top-1", "%", digits=1),
            Column("best_epoch", "best epoch"),
        ]
        note = "Training's top-1 is that on augmented images during the epoch, while the weights still change."
        return Table("Where the curves end", columns, [self._end(place) for place in range(len(self.runs))], [note])

    def results_table(self) -> Table:
        columns = [
            Column("run", "run"),
            Column("state", "state"),
            Column("top1", "validation top-1", "%", digits=1, uncertainty="interval"),
            Column("seconds", "steps' time", "s", digits=0),
            Column("images_per_second", "throughput", "images/s", digits=0, uncertainty="interval"),
            Column("peak_gib", "peak memory", "GiB", digits=2),
        ]
        notes = [
            "Brackets are 95 % intervals for these very trainings, over validation images and over times. Which "
            "setting is the better one only several seeds of each can tell: `mixlab compare` trains them.",
        ]
        return Table("Results", columns, [self._result(place) for place in range(len(self.runs))], notes)

    def full_table(self) -> Table:
        """A row a run: its results, where its curves end, and its value of every key that differs."""
        columns = [*self.results_table().columns, *self.ends_table().columns[1:], *map(_plain_column, self.differing)]
        rows = [
            self._result(place)
            | self._end(place)
            | {"run": str(self.runs[place].run.path)}
            | {key: values[place] for key, values in self.differing.items()}
            for place in range(len(self.runs))
        ]
        return Table("Runs compared", columns, rows)

    def _end(self, place: int) -> dict[str, Cell]:
        history = self.runs[place].history
        row: dict[str, Cell] = {"run": self.names[place]}
        if history.epochs:
            last = history.epochs[-1]
            row |= {"epoch": last["epoch"], "loss": last["train"]["loss"], "training": last["train"]["top1"]}
            row["validation"] = last["validation"] and last["validation"]["top1"]
        return row | {"best_epoch": history.best["epoch"]} if history.best else row

    def _result(self, place: int) -> dict[str, Cell]:
        one = self.runs[place]
        speeds = [step["images_per_second"] for step in one.history.steps]
        peak = (one.history.end or {}).get("peak_bytes")
        return {
            "run": self.names[place],
            "state": one.run.state,
            "top1": one.top1,
            "seconds": one.seconds,
            "images_per_second": median_interval(speeds, "images/s") if speeds else None,
            "peak_gib": peak and peak / 2**30,
        }


def compare_runs(paths: Sequence[Path]) -> RunComparison:
    """Raises UserError where one is damaged."""
    return RunComparison([read_run_summary(path) for path in paths])


def _plain_column(key: str) -> Column:
    return Column(key, key)


def _settings(one: RunSummary) -> dict[str, str]:
    """What may decide a result, by its key with dots."""
    recipe = {key: value for key, value in one.recipe.items() if key != "expected"}
    environment = one.run.environment
    decided = {"plan": one.run.plan, "device": environment["device"], "versions": environment["versions"]}
    return _flat(recipe) | _flat(decided)


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": str(value)}
    return flat
