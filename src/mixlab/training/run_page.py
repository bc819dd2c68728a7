"""The report page of one training, made from the files of its folder: running, stopped or finished."""

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
from mixlab.report.text import pluralize
from mixlab.report.time_series import SeriesPanel, power_of_ten, time_series
from mixlab.runs.folder import Run, State
from mixlab.runs.history import (
    History,
    Line,
    metric_title,
    read_history,
    selecting_metric,
    selecting_score,
    validation_estimate,
)
from mixlab.speed.plan import mode_name
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import median_interval
from mixlab.tasks.tasks import noun_of

_RECENT = 10  # lines of the journal for the estimate of the remaining time
_LONG_WAITING = 10  # per cent
_MAX_ROWS = 20  # rows of a table, and names of images
_LOSS = Axis("Training loss", "nats", "lower")
_WAITING = Axis("Waiting for data", "% of the time", "lower", digits=0)


def run_page(run: Run, path: Path | None = None) -> Page:
    """The report of `run`.

    `path` is the final path of the folder, if `run` is still a temporary folder. A training counts as done if its
    journal has an "end" line, so that the page can be written before the state is set to "done".
    """
    history = read_history(run.journal)
    content = _Content(run, path or run.path, history, run.recipe, run.state if history.end is None else "done")
    if history.averaged:
        curves = []
    elif history.ridges:
        curves = [content.ridges]
    else:
        curves = [content.learning, content.machine]
    return Page(
        title=f"{content.recipe['model']} on {content.recipe['data']}",
        kicker=f"mixlab {'runs --average' if history.averaged else 'train'}: {content.path}",
        summary=content.summary,
        sections=[*curves, content.incidents, content.run_details],
        footer=f"Written by mixlab {run.environment['versions']['mixlab']} on {datetime.now():%Y-%m-%d at %H:%M}.",
    )


@dataclass(frozen=True)
class _Content:
    run: Run
    path: Path
    history: History
    recipe: Mapping[str, Any]
    state: State

    @property
    def _noun(self) -> str:
        return noun_of(self.recipe)

    @cached_property
    def steps_per_epoch(self) -> int:
        if self.history.epochs:
            return self.history.epochs[0]["step"]
        return steps_per_epoch(self.run.data["images"]["train"], self.recipe["batch"])

    @cached_property
    def steps(self) -> int:
        """The steps of the whole training; 1 for a linear probe."""
        return self.recipe.get("steps") or self.recipe.get("epochs", 1) * self.steps_per_epoch

    @property
    def remaining_seconds(self) -> float | None:
        """Estimated from the median speed of the last lines, else from the complete epochs; None without either."""
        remaining = self.steps - self.history.step
        if recent := self.history.steps[-_RECENT:]:
            return remaining * self.recipe["batch"] / median(step["images_per_second"] for step in recent)
        if self.history.seconds is not None:
            return remaining * self.history.seconds / self.history.step
        return None

    @property
    def summary(self) -> Summary:
        metrics: list[Metric] = []
        if evaluated := self.history.validation:
            title = metric_title(selecting_metric(evaluated))
            metrics.append(Metric(f"Validation {title}", validation_estimate(evaluated), 1))
        if self.history.epochs:
            last = self.history.epochs[-1]
            metrics.append(Metric("Training loss", Estimate.exact(last["train"]["loss"], "nats")))
        if self.history.steps:
            speeds = [step["images_per_second"] for step in self.history.steps]
            metrics.append(Metric("Throughput", median_interval(speeds, self._samples_per_second), 0))
        return Summary(self._sentence, self._uncertainty, metrics)

    @property
    def _sentence(self) -> str:
        history, position = self.history, f"step {self.history.step:,} of {self.steps:,}"
        match self.state:
            case "running" if history.step == 0:
                return f"The training has started: {self.steps:,} steps to go."
            case "running":
                left = f", about {duration(self.remaining_seconds)} to go" if self.remaining_seconds else ""
                return f"The training is at {position}{left}."
            case "stopped" if self.run.postmortem.exists():
                return f"The training diverged: {self._divergence}"
            case "stopped":
                return f"The training was stopped at {position}. Resume it with `mixlab train --resume {self.path}`."
            case "done" if history.averaged:
                runs = len(history.averaged[-1]["runs"])
                return f"The weights are the average of the weights of {runs} trainings.{self._validation_sentence}"
            case "done":
                early = f", early after epoch {history.stopped_early[-1]['epoch']}" if history.stopped_early else ""
                return f"The training finished in {duration(history.seconds or 0)}{early}.{self._validation_sentence}"

    @property
    def _validation_sentence(self) -> str:
        if (evaluated := self.history.validation) is None:
            return "" if self.history.averaged else " The run has the weights of the last step."
        weights = "They" if self.history.averaged else "The weights of the run"
        score = number(selecting_score(evaluated), 1)
        images = f"{evaluated['images']:,} validation {self._noun}s"
        if (metric := selecting_metric(evaluated)) == "top1":
            return f" {weights} classify {score} % of {images} correctly."
        return f" {weights} reach {score} % {metric_title(metric)} on {images}."

    @property
    def _uncertainty(self) -> str:
        if self.history.validation is None:
            return "There is no validation result yet." if self.state != "done" else "There was no validation split."
        return (
            f"The weights are selected on the validation {self._noun}s, so this value is slightly too high. "
            f"`mixlab evaluate {self.path}` evaluates a finished run on {self._noun}s that were not used for selection."
        )

    @property
    def _divergence(self) -> str:
        postmortem = json.loads(self.run.postmortem.read_text(encoding="utf-8"))
        return (
            f"the loss became {postmortem['loss']} at step {postmortem['step']:,}. The {self._noun}s and the "
            "largest gradients of this step are in postmortem.json."
        )

    @property
    def learning(self) -> Section:
        epochs, logged = self.history.epochs, self._logged("loss")
        if not (epochs or logged[0]):
            return Section("Learning curves", ["The journal is still empty: a line is written every 20 steps."])
        ends = [self._by_epoch(epoch["step"]) for epoch in epochs]
        losses = ends, [epoch["train"]["loss"] for epoch in epochs]
        panels = [
            SeriesPanel(_LOSS, {"epochs": losses}, background=logged)
            if epochs
            else SeriesPanel(_LOSS, {"steps": logged})
        ]
        if epochs:
            evaluated = [epoch for epoch in epochs if epoch["validation"]]
            metrics = {**epochs[0]["train"], **(evaluated[0]["validation"] if evaluated else {})}
            panels += [
                _metric_panel(
                    metric,
                    {
                        "training": self._metric_curve(metric, "train", epochs),
                        "validation": self._metric_curve(metric, "validation", evaluated),
                    },
                )
                for metric in metrics
                if metric not in ("loss", "images")
            ]
        if logged[0]:
            panels.append(power_of_ten("Learning rate", self._logged("learning_rate")))
        figure = self._figure(
            "Loss, accuracy and learning rate",
            panels,
            "Loss: mean of each epoch, and of the steps in grey. The training accuracy is measured on augmented "
            f"{self._noun}s while the weights change, so the validation accuracy may be higher.",
        )
        return Section("Learning curves", [figure])

    @property
    def ridges(self) -> Section:
        """The validation accuracy of a linear probe for each ridge."""
        columns = [Column("ridge", "ridge"), Column("top1", "validation top-1", "%", digits=1), Column("selected", "")]
        rows: list[dict[str, Cell]] = [
            {
                "ridge": f"{tried['ridge']:g}",
                "top1": tried["top1"],
                "selected": "selected" if tried["chosen"] else "",
            }
            for tried in self.history.ridges
        ]
        notes = ["A larger ridge regularizes more strongly. The ridge with the best validation accuracy is selected."]
        return Section("Ridge selection", [Table("Ridge regression heads", columns, rows, notes)])

    @property
    def _samples_per_second(self) -> str:
        return f"{self._noun}s/s"

    @property
    def machine(self) -> Section:
        if not self.history.steps:
            return Section(
                "Performance", ["Throughput and gradient norm are logged every 20 steps; no line has been logged."]
            )
        waiting_at, waiting = self._logged("data_time")
        norms = self._logged("gradient_norm")
        figure = self._figure(
            "Throughput, waiting time and gradient norm",
            [
                SeriesPanel(
                    Axis("Throughput", self._samples_per_second, "higher"),
                    {self._samples_per_second: self._logged("images_per_second")},
                    include=(0,),
                ),
                SeriesPanel(_WAITING, {"waiting": (waiting_at, [100 * share for share in waiting])}, include=(0, 100)),
                SeriesPanel(_norm_axis(norms), {"norm": norms}),
            ],
            "Time that is not spent waiting for data is spent computing. The gradient norm is that of all parameters, "
            "before clipping.",
        )
        share = 100 * fmean(waiting)
        hint = f" More `workers` or smaller {self._noun} files would make it faster." if share > _LONG_WAITING else ""
        sentence = f"The training waits for {self._noun}s {number(share, 1)} % of the time.{hint}"
        return Section("Performance", [sentence, figure])

    @property
    def incidents(self) -> Section:
        """Divergence, interruptions, skipped steps and skipped images."""
        history = self.history
        blocks: list[Block] = []
        if self.run.postmortem.exists():
            blocks.append(f"Divergence: {self._divergence}")
        if history.averaged:
            blocks.append(
                "The statistics of batch normalisation, if the model has any, were estimated again. Averaged runs:"
            )
            blocks.append(Code("\n".join(history.averaged[-1]["runs"])))
        lines = sorted((*history.resumed, *history.skipped), key=lambda line: line["step"])
        if lines:
            rows: list[dict[str, Cell]] = [
                {"step": line["step"], "what": f"skipped: {line['reason']}" if "reason" in line else "resumed"}
                for line in lines
            ]
            notes = [f"{len(rows) - _MAX_ROWS:,} earlier lines are in journal.jsonl."] if len(rows) > _MAX_ROWS else []
            columns = [Column("step", "step"), Column("what", "event")]
            title = f"Resumed {_times(history.resumed)}, skipped steps: {len(history.skipped):,}"
            blocks.append(Table(title, columns, rows[-_MAX_ROWS:], notes))
        if unreadable := (history.end or {}).get("unreadable"):
            blocks.append(_skipped_samples(unreadable, self._noun))
        return Section("Incidents", blocks or [f"There were no interruptions, skipped steps or skipped {self._noun}s."])

    @property
    def run_details(self) -> Section:
        run, recipe, plan, environment = self.run, self.recipe, self.run.plan, self.run.environment
        data = run.data
        counts = ", ".join(f"{images:,} {split}" for split, images in data["images"].items())
        peak = (self.history.end or {}).get("peak_bytes")
        facts = {
            "State": self.state,
            "Model": f"{recipe['model']} at {_size(recipe['image_size'])} pixels"
            if "image_size" in recipe
            else recipe["model"],
            "Data": f"{recipe['data']}: {len(data['classes']):,} classes, {counts} {self._noun}s",
            "Length": self._length,
            "Plan": f"{mode_name(plan['precision'], plan['layout'])}, {plan['micro_batch']:,} "
            f"{self._noun}s at once, {_processes(plan.get('processes', 1))}{_concurrency(plan)}",
            **({"Peak memory": f"{peak / 2**30:.2f} GiB"} if peak else {}),
            **machine_facts(environment),
        }
        return Section("Run details", [KeyValues(facts), Details("Resolved recipe", [Code(tomli_w.dumps(recipe))])])

    @property
    def _length(self) -> str:
        batch, noun = self.recipe["batch"], self._noun
        if self.history.ridges:
            return f"one pass of every {noun} through the backbone, {batch:,} at a time; a linear probe has no steps"
        return f"{self.steps:,} steps of {batch:,} {noun}s, {self.steps_per_epoch:,} per epoch"

    def _by_epoch(self, step: int) -> float:
        return step / self.steps_per_epoch

    def _logged(self, key: str) -> Curve:
        lines = self.history.steps
        return [self._by_epoch(line["step"]) for line in lines], [
            nan if line[key] is None else line[key] for line in lines
        ]

    def _metric_curve(self, metric: str, images: str, epochs: Sequence[Line]) -> Curve:
        measured = [epoch for epoch in epochs if metric in epoch[images]]
        return [self._by_epoch(epoch["step"]) for epoch in measured], [epoch[images][metric] for epoch in measured]

    def _figure(self, title: str, panels: Sequence[SeriesPanel], caption: str) -> Block:
        end = self._by_epoch(self.history.step)
        return time_series(title, panels, x=Axis("Epoch", digits=0 if end >= 3 else None), end=end, caption=caption)


def _metric_panel(metric: str, curves: Mapping[str, Curve]) -> SeriesPanel:
    title = metric_title(metric)
    axis = Axis(title[0].upper() + title[1:], "%", "higher", digits=1)
    return SeriesPanel(axis, {name: curve for name, curve in curves.items() if curve[0]})


def _norm_axis(norms: Curve) -> Axis:
    finite = [norm for norm in norms[1] if isfinite(norm)]
    return Axis("Gradient norm").logarithmic_over_a_decade(finite or [1.0])


def _skipped_samples(unreadable: Mapping[str, str], noun: str) -> Details:
    names = [f"{name}: {reason}" for name, reason in list(unreadable.items())[:_MAX_ROWS]]
    more = [f"and {len(unreadable) - _MAX_ROWS:,} more, in journal.jsonl"] if len(unreadable) > _MAX_ROWS else []
    return Details(f"Unreadable {noun}s that were skipped: {len(unreadable):,}", [Code("\n".join(names + more))])


def _times(lines: Sequence[Line]) -> str:
    return "once" if len(lines) == 1 else f"{len(lines):,} times"


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count:,} processes"


def _concurrency(plan: Mapping[str, Any]) -> str:
    if plan.get("concurrent", 1) == 1:
        return ""
    return f", {pluralize(plan['threads'], 'thread')}, one of {plan['concurrent']} trainings at the same time"


def _size(image_size: int | Sequence[int]) -> str:
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    return " x ".join(map(str, sides))
