"""The page of one training, made from its folder alone: while it runs, after it was stopped, and when it is done."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from math import isfinite, nan
from pathlib import Path
from statistics import fmean, median
from typing import Any

import tomli_w

from mixlab.data.batches import steps_per_epoch
from mixlab.report.axes import Axis
from mixlab.report.curves import Curve
from mixlab.report.machine import machine_facts
from mixlab.report.numbers import duration, number
from mixlab.report.page import Block, Code, Details, KeyValues, Metric, Page, Section, Summary
from mixlab.report.table import Cell, Column, Table
from mixlab.report.time_series import SeriesPanel, power_of_ten, time_series
from mixlab.runs.folder import Run, State
from mixlab.runs.history import History, Line, read_history
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import median_interval, proportion_interval

_RECENT = 10  # lines of the journal whose speed foretells the rest
_MUCH_WAITING = 10  # per cent
_SHOWN = 20  # rows of a table, and images that are named
_LOSS = Axis("Training loss", "nats", "lower")
_ACCURACY = Axis("Top-1", "%", "higher", digits=1)
_WAITING = Axis("Waiting for data", "% of the time", "lower", digits=0)
_SPEED = Axis("Throughput", "images/s", "higher")


def run_page(run: Run, path: Path | None = None) -> Page:
    """`path`: where the folder will stand, if it stands elsewhere while it is written.

    The journal's last line says that a training is done, so that its page can be written before the folder is.
    """
    history = read_history(run.journal)
    story = _Story(run, path or run.path, history, run.recipe, run.state if history.end is None else "done")
    if history.averaged:
        watched = []
    elif history.ridges:
        watched = [story.ridges]
    else:
        watched = [story.learning, story.machine]
    return Page(
        title=f"{story.recipe['model']} on {story.recipe['data']}",
        kicker=f"mixlab {'runs --average' if history.averaged else 'train'}: {story.path}",
        answer=story.answer,
        sections=[*watched, story.incidents, story.run_details],
        footer=f"Written by mixlab {run.environment['versions']['mixlab']} on {datetime.now():%Y-%m-%d at %H:%M}.",
    )


@dataclass(frozen=True)
class _Story:
    run: Run
    path: Path
    history: History
    recipe: Mapping[str, Any]
    state: State

    @cached_property
    def steps_per_epoch(self) -> int:
        if self.history.epochs:
            return self.history.epochs[0]["step"]
        return steps_per_epoch(self.run.data["images"]["train"], self.recipe["batch"])

    @cached_property
    def steps(self) -> int:
        """Of the whole training; one where a head is computed in closed form."""
        return self.recipe.get("steps") or self.recipe.get("epochs", 1) * self.steps_per_epoch

    @property
    def seconds_to_go(self) -> float | None:
        """At the median speed of the last lines, as one may hold a pause; else of the closed epochs, else None."""
        to_go = self.steps - self.history.step
        if recent := self.history.steps[-_RECENT:]:
            return to_go * self.recipe["batch"] / median(step["images_per_second"] for step in recent)
        if self.history.seconds is not None:
            return to_go * self.history.seconds / self.history.step
        return None

    @property
    def answer(self) -> Summary:
        figures: list[Metric] = []
        if evaluated := self.history.validation:
            figures.append(Metric("Validation top-1", _top1(evaluated), 1))
        if self.history.epochs:
            last = self.history.epochs[-1]
            figures.append(Metric("Training loss", Estimate.exact(last["train"]["loss"], "nats")))
        if self.history.steps:
            speeds = [step["images_per_second"] for step in self.history.steps]
            figures.append(Metric("Throughput", median_interval(speeds, "images/s"), 0))
        return Summary(self._sentence, self._uncertainty, figures)

    @property
    def _sentence(self) -> str:
        history, place = self.history, f"step {self.history.step:,} of {self.steps:,}"
        match self.state:
            case "running" if history.step == 0:
                return f"The training has begun: {self.steps:,} steps lie before it."
            case "running":
                left = f", about {duration(self.seconds_to_go)} to go" if self.seconds_to_go else ""
                return f"The training is at {place}{left}."
            case "stopped" if self.run.postmortem.exists():
                return f"The training came to no end: {self._diverged}"
            case "stopped":
                return f"The training was stopped at {place}: `mixlab train --resume {self.path}` goes on."
            case "done" if history.averaged:
                return (
                    f"These weights are the mean of those of {len(history.averaged[-1]['runs'])} trainings{self._kept}."
                )
            case "done":
                return f"The training is done and took {duration(history.seconds or 0)}{self._kept}."

    @property
    def _kept(self) -> str:
        if (evaluated := self.history.validation) is None:
            return "" if self.history.averaged else ", and its last weights were kept"
        reported_by = "they" if self.history.averaged else "the weights that were kept"
        return (
            f": {reported_by} had {number(evaluated['top1'], 1)} % of {evaluated['images']:,} validation images right"
        )

    @property
    def _uncertainty(self) -> str:
        if self.history.validation is None:
            return "Nothing has been judged yet." if self.state != "done" else "There was no validation part."
        return (
            "What is kept is chosen on the validation images, so its accuracy there is a little too high: "
            f"`mixlab evaluate {self.path}` judges a finished run on images that chose nothing."
        )

    @property
    def _diverged(self) -> str:
        found = json.loads(self.run.postmortem.read_text(encoding="utf-8"))
        return f"the loss became {found['loss']} at step {found['step']:,}, and postmortem.json says what led to it."

    @property
    def learning(self) -> Section:
        epochs, logged = self.history.epochs, self._logged("loss")
        if not (epochs or logged[0]):
            return Section("How it learns", ["Nothing is in the journal yet: a line comes every 20 steps."])
        ends = [self._by_epoch(epoch["step"]) for epoch in epochs]
        losses = ends, [epoch["train"]["loss"] for epoch in epochs]
        panels = [
            SeriesPanel(_LOSS, {"epochs": losses}, background=logged)
            if epochs
            else SeriesPanel(_LOSS, {"steps": logged})
        ]
        if epochs:
            evaluated = [epoch for epoch in epochs if epoch["validation"]]
            accuracies = {
                "training": (ends, [epoch["train"]["top1"] for epoch in epochs]),
                "validation": (
                    [self._by_epoch(epoch["step"]) for epoch in evaluated],
                    [epoch["validation"]["top1"] for epoch in evaluated],
                ),
            }
            panels.append(SeriesPanel(_ACCURACY, {name: curve for name, curve in accuracies.items() if curve[0]}))
        if logged[0]:
            panels.append(power_of_ten("Learning rate", self._logged("learning_rate")))
        figure = self._figure(
            "Loss, accuracy and rate",
            panels,
            "The loss is an epoch's mean, over that of the steps in grey. Training's accuracy is that on augmented "
            "images while the weights still change, so validation's may lie above it.",
        )
        return Section("How it learns", [figure])

    @property
    def ridges(self) -> Section:
        """Of a head in closed form."""
        columns = [Column("ridge", "ridge"), Column("top1", "validation top-1", "%", digits=1), Column("kept", "")]
        rows: list[dict[str, Cell]] = [
            {
                "ridge": f"{tried['ridge']:g}",
                "top1": tried["top1"],
                "kept": "kept" if tried["chosen"] else "",
            }
            for tried in self.history.ridges
        ]
        notes = ["A large ridge keeps the head near the mean answer, a small one lets it follow the training images."]
        return Section("Which ridge", [Table("A head in closed form for each ridge", columns, rows, notes)])

    @property
    def machine(self) -> Section:
        if not self.history.steps:
            return Section("How it runs", ["Speed and gradients are written down every 20 steps, and none were."])
        waiting_at, waiting = self._logged("data_time")
        norms = self._logged("gradient_norm")
        figure = self._figure(
            "Speed and gradients",
            [
                SeriesPanel(_SPEED, {"images/s": self._logged("images_per_second")}, include=(0,)),
                SeriesPanel(_WAITING, {"waiting": (waiting_at, [100 * share for share in waiting])}, include=(0, 100)),
                SeriesPanel(_norm_axis(norms), {"norm": norms}),
            ],
            "What is not waiting is computing. The gradient's norm is that over all parameters, before clipping.",
        )
        share = 100 * fmean(waiting)
        cure = ": more `workers` or smaller files would make it faster" if share > _MUCH_WAITING else ""
        return Section("How it runs", [f"It waits for images {number(share, 1)} % of the time{cure}.", figure])

    @property
    def incidents(self) -> Section:
        """What did not go by itself, and what was left out."""
        history = self.history
        blocks: list[Block] = []
        if self.run.postmortem.exists():
            blocks.append(f"Diverged: {self._diverged}")
        if history.averaged:
            blocks.append(
                "Batch normalisation's statistics, where the model has any, were estimated anew. Averaged were:"
            )
            blocks.append(Code("\n".join(history.averaged[-1]["runs"])))
        lines = sorted((*history.resumed, *history.skipped), key=lambda line: line["step"])
        if lines:
            rows: list[dict[str, Cell]] = [
                {"step": line["step"], "what": f"left out: {line['reason']}" if "reason" in line else "resumed"}
                for line in lines
            ]
            notes = [f"{len(rows) - _SHOWN:,} earlier ones are in journal.jsonl."] if len(rows) > _SHOWN else []
            columns = [Column("step", "step"), Column("what", "what happened")]
            counted = f"Resumed {_times(history.resumed)}, steps left out: {len(history.skipped):,}"
            blocks.append(Table(counted, columns, rows[-_SHOWN:], notes))
        if unreadable := (history.end or {}).get("unreadable"):
            blocks.append(_left_out(unreadable))
        return Section("What happened", blocks or ["Nothing was interrupted, and nothing left out."])

    @property
    def run_details(self) -> Section:
        run, recipe, plan, environment = self.run, self.recipe, self.run.plan, self.run.environment
        data = run.data
        counts = ", ".join(f"{images:,} {split}" for split, images in data["images"].items())
        peak = (self.history.end or {}).get("peak_bytes")
        facts = {
            "State": self.state,
            "Model": f"{recipe['model']} at {_size(recipe['image_size'])} pixels",
            "Data": f"{recipe['data']}: {len(data['classes']):,} classes, {counts} images",
            "Length": self._length,
            "Plan": f"{plan['precision']}, {plan['layout'].replace('_', ' ')}, {plan['micro_batch']:,} images at "
            f"once, {_processes(plan.get('processes', 1))}",
            **({"Peak memory": f"{peak / 2**30:.2f} GiB"} if peak else {}),
            **machine_facts(environment),
        }
        return Section("What runs", [KeyValues(facts), Details("The recipe, resolved", [Code(tomli_w.dumps(recipe))])])

    @property
    def _length(self) -> str:
        batch = self.recipe["batch"]
        if self.history.ridges:
            return f"every image once through the backbone, {batch:,} at a time; a head in closed form takes no steps"
        return f"{self.steps:,} steps of {batch:,} images, {self.steps_per_epoch:,} an epoch"

    def _by_epoch(self, step: int) -> float:
        return step / self.steps_per_epoch

    def _logged(self, key: str) -> Curve:
        lines = self.history.steps
        return [self._by_epoch(line["step"]) for line in lines], [
            nan if line[key] is None else line[key] for line in lines
        ]

    def _figure(self, title: str, panels: Sequence[SeriesPanel], caption: str) -> Block:
        end = self._by_epoch(self.history.step)
        return time_series(title, panels, x=Axis("Epoch", digits=0 if end >= 3 else None), end=end, caption=caption)


def _top1(validation: Line) -> Estimate:
    return proportion_interval(validation["top1"] * validation["images"] / 100, validation["images"])


def _norm_axis(norms: Curve) -> Axis:
    finite = [norm for norm in norms[1] if isfinite(norm)]
    return Axis("Gradient norm").logarithmic_over_a_decade(finite or [1.0])


def _left_out(unreadable: Mapping[str, str]) -> Details:
    names = [f"{name}: {reason}" for name, reason in list(unreadable.items())[:_SHOWN]]
    more = [f"and {len(unreadable) - _SHOWN:,} more, in journal.jsonl"] if len(unreadable) > _SHOWN else []
    return Details(f"Images left out because they can't be read: {len(unreadable):,}", [Code("\n".join(names + more))])


def _times(lines: Sequence[Line]) -> str:
    return "once" if len(lines) == 1 else f"{len(lines):,} times"


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count:,} processes"


def _size(image_size: int | Sequence[int]) -> str:
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    return " x ".join(map(str, sides))
