"""A forecast in words: tables, a curve and the whole recipe, for the terminal and as a page. Estimates say so."""

import sys
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

import numpy as np
import tomli_w

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.files import write_text
from mixlab.measure.machine import device_name
from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.numbers import duration, number, short
from mixlab.report.page import Answer, Beside, Code, KeyFigure, Page, Section
from mixlab.report.table import Cell, Column, Table, print_table
from mixlab.report.terminal import glyphs_of, terminal_curve
from mixlab.report.time_series import courses, in_powers
from mixlab.stats.estimate import Estimate
from mixlab.training.planning.estimate import Forecast

_SHOWN = 10
"""Of the classes with most images, and of those with fewest."""
_WIDEST = 100
_EPOCH, _RATE = Axis("Epoch"), Axis("Learning rate")


def print_forecast(forecast: Forecast) -> None:
    """To standard output, as wide as the terminal."""
    print(complete_recipe(forecast))
    for table in tables(forecast):
        print_table(table)
        print()
    width = min(get_terminal_size().columns, _WIDEST)
    print(terminal_curve(forecast.rates, x=_EPOCH, y=_RATE, width=width, glyphs=glyphs_of(sys.stdout.encoding)), end="")


def keeper(file: Path) -> Callable[[Forecast], None]:
    """What keeps a forecast in `file`: a page as .html, the curve of rates alone as .png. Raises UserError."""
    match file.suffix.lower():
        case ".html":
            return lambda forecast: write_text(file, page(forecast).html())
        case ".png":
            return lambda forecast: figure(forecast).save_png(file)
        case suffix:
            raise UserError(
                f'--figure {file} ends in "{suffix}": end it in .html for a page of the whole forecast, or in .png for '
                "the curve of the learning rate."
            )


def tables(forecast: Forecast) -> list[Table]:
    return [_training(forecast), images_a_class(forecast.job.dataset), _memory(forecast)]


def figure(forecast: Forecast) -> Figure:
    return courses("Learning rate", [in_powers("Learning rate", forecast.rates)], x=_EPOCH, end=forecast.epochs)


def page(forecast: Forecast) -> Page:
    recipe, time = forecast.job.recipe, forecast.time
    taken = sum(forecast.memory.values())
    return Page(
        title=f"{recipe.model} on {recipe.data}",
        kicker="mixlab train --dry-run: nothing was written but this page",
        answer=Answer(
            f"It would take about {duration(time.whole)} on {device_name(forecast.job.device)}.",
            "Time and memory are estimates: from a short trial's step, and from the shapes of what is kept.",
            [
                KeyFigure("Steps", Estimate.exact(forecast.steps, ""), 0),
                KeyFigure("Parameters", Estimate.exact(forecast.parameters / 1e6, "M")),
                KeyFigure("Memory, estimated", Estimate.exact(taken / 2**20, "MiB")),
            ],
        ),
        sections=[
            Section("What would run", [Beside([_training(forecast), figure(forecast)])]),
            Section("On what", [Beside([images_a_class(forecast.job.dataset), _memory(forecast)])]),
            Section("The recipe, complete", [Code(complete_recipe(forecast))]),
        ],
    )


def complete_recipe(forecast: Forecast) -> str:
    """TOML in which nothing is left to a default; what a recipe can do and this one doesn't stands in a comment.

    The model's fields are those that the recipe gives where it begins with weights, which hold the others.
    """
    job = forecast.job
    stored = job.recipe.to_dict()
    stored["preprocessing"] = {name: value for name, value in job.preprocess.to_dict().items() if name != "image_size"}
    if job.weights is None:
        stored["config"] = _without_none(job.config)
    unused = ", ".join(_unused(job.recipe.model_dump(exclude={"preprocessing", "config", "expected"})))
    comment = fill(f"Not used: {unused}.", _WIDEST, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    return f"{tomli_w.dumps(stored)}\n{comment}\n"


def _training(forecast: Forecast) -> Table:
    job, plan, recipe, time = forecast.job, forecast.plan, forecast.job.recipe, forecast.time
    rows, columns = job.preprocess.image_size
    facts = {
        "Model": f"{recipe.model}, {number(forecast.parameters, 0)} parameters",
        "Begins with": "fresh weights" if job.weights is None else f"the weights of {recipe.model}",
        "Image": f"{rows} x {columns} pixels, {short(forecast.macs)} multiply-accumulates to judge it",
        "Length": f"{forecast.steps:,} steps of {job.batch:,} images, {forecast.steps_an_epoch:,} an epoch: "
        f"{short(forecast.epochs)} epochs",
        "Work": f"{forecast.images:,} images forth and back, {short(forecast.training_macs)} multiply-accumulates",
        "Device": device_name(job.device),
        "Mode": str(plan.mode),
        "Memory that a step frees": f"is {plan.freed_memory}",
        "Processes": _processes(forecast),
        "At once": _parts(forecast),
        **({"Batch norm": _batch_norm(forecast)} if forecast.has_batch_norm else {}),
        "Keeps": "the weights that are best on validation" if "validation" in job.dataset.parts else "the last weights",
        "A step": f"{1000 * forecast.seconds_a_step:.0f} ms in the trial",
        "Time": f"about {duration(time.whole)}, estimated: {_times(forecast)}",
    }
    named: list[dict[str, Cell]] = [{"what": what, "is": value} for what, value in facts.items()]
    return Table("The training", [Column("what", "what"), Column("is", "is")], named)


def _processes(forecast: Forecast) -> str:
    if forecast.plan.processes == 1:
        return "one, which sees the whole batch"
    largest, smallest = forecast.shares[0], forecast.shares[-1]
    seen = f"{largest:,}" if largest == smallest else f"{smallest:,} or {largest:,}"
    holds = "a shard of every tensor" if forecast.job.recipe.parallel == "fsdp" else "a copy of the model"
    return f"{forecast.plan.processes:,}, each with {holds}, that see {seen} images of a batch each"


def _parts(forecast: Forecast) -> str:
    parts = ceil(forecast.shares[0] / forecast.at_once)
    if parts == 1:
        return f"{forecast.at_once:,} images go through the model"
    return f"{forecast.at_once:,} images go through the model, in {parts:,} parts whose gradients add up"


def _batch_norm(forecast: Forecast) -> str:
    if forecast.at_once == forecast.job.batch:
        return "sees the whole batch"
    whose = "a process's share" if forecast.at_once == forecast.shares[0] else "a part"
    return f"sees {forecast.at_once:,} images, {whose} of the {forecast.job.batch:,}, and so learns other statistics"


def _times(forecast: Forecast) -> str:
    time = forecast.time
    shown = {"for steps": time.steps, "waiting for images": time.reading, "judging validation": time.judging}
    return ", ".join(f"{duration(seconds)} {what}" for what, seconds in shown.items() if seconds)


def images_a_class(dataset: Dataset) -> Table:
    counts = {part: np.bincount(one.labels, minlength=len(dataset.classes)) for part, one in dataset.parts.items()}
    notes: list[str] = []
    order = list(range(len(dataset.classes)))
    if len(order) > 2 * _SHOWN:
        order.sort(key=lambda label: -counts["train"][label])
        left_out = order[_SHOWN:-_SHOWN]
        order = order[:_SHOWN] + order[-_SHOWN:]
        most, fewest = (int(counts["train"][left_out[place]]) for place in (0, -1))
        notes.append(
            f"{len(left_out):,} more classes lie between them, with {fewest:,} to {most:,} images to train on."
        )
    rows = [_row(dataset.classes[label], {part: found[label] for part, found in counts.items()}) for label in order]
    rows.append(_row(f"all {len(dataset.classes):,}", {part: found.sum() for part, found in counts.items()}))
    return Table("Images a class", [Column("class", "class"), *(Column(part, part) for part in counts)], rows, notes)


def _row(name: str, counts: Mapping[str, np.integer]) -> dict[str, Cell]:
    return {"class": name, **{part: int(count) for part, count in counts.items()}}


def _memory(forecast: Forecast) -> Table:
    mebibytes = {what: taken / 2**20 for what, taken in forecast.memory.items()}
    rows: list[dict[str, Cell]] = [{"what": what, "mebibytes": taken} for what, taken in mebibytes.items()]
    rows.append({"what": "all", "mebibytes": sum(mebibytes.values())})
    return Table(
        "Memory of one process, estimated",
        [Column("what", "what"), Column("mebibytes", "memory", "MiB", digits=1)],
        rows,
        ["The libraries, the room that they compute in, and images that stay in the machine's memory come on top."],
    )


def _unused(section: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    """The keys, with dots, that have no value."""
    for key, value in section.items():
        if value is None:
            yield inside + key
        elif isinstance(value, Mapping):
            yield from _unused(value, f"{inside}{key}.")


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
