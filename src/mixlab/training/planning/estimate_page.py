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
from mixlab.report.page import Code, Columns, Metric, Page, Section, Summary
from mixlab.report.table import Cell, Column, Table, print_table
from mixlab.report.terminal import glyphs_of, terminal_curve
from mixlab.report.time_series import power_of_ten, time_series
from mixlab.stats.estimate import Estimate
from mixlab.training.planning.estimate import TrainingEstimate

_SHOWN = 10
"""Of the classes with most images, and of those with fewest."""
_WIDEST = 100
_EPOCH, _RATE = Axis("Epoch"), Axis("Learning rate")


def print_estimate(estimate: TrainingEstimate) -> None:
    """To standard output, as wide as the terminal."""
    print(complete_recipe(estimate))
    for table in tables(estimate):
        print_table(table)
        print()
    width = min(get_terminal_size().columns, _WIDEST)
    print(terminal_curve(estimate.rates, x=_EPOCH, y=_RATE, width=width, glyphs=glyphs_of(sys.stdout.encoding)), end="")


def figure_writer(file: Path) -> Callable[[TrainingEstimate], None]:
    """What keeps a forecast in `file`: a page as .html, the curve of rates alone as .png. Raises UserError."""
    match file.suffix.lower():
        case ".html":
            return lambda estimate: write_text(file, page(estimate).html())
        case ".png":
            return lambda estimate: figure(estimate).save_png(file)
        case suffix:
            raise UserError(
                f'--figure {file} ends in "{suffix}": end it in .html for a page of the whole forecast, or in .png for '
                "the curve of the learning rate."
            )


def tables(estimate: TrainingEstimate) -> list[Table]:
    return [_training(estimate), images_per_class(estimate.job.dataset), _memory(estimate)]


def figure(estimate: TrainingEstimate) -> Figure:
    return time_series("Learning rate", [power_of_ten("Learning rate", estimate.rates)], x=_EPOCH, end=estimate.epochs)


def page(estimate: TrainingEstimate) -> Page:
    recipe, time = estimate.job.recipe, estimate.time
    taken = sum(estimate.memory.values())
    return Page(
        title=f"{recipe.model} on {recipe.data}",
        kicker="mixlab train --dry-run: nothing was written but this page",
        answer=Summary(
            f"It would take about {duration(time.whole)} on {device_name(estimate.job.device)}.",
            "Time and memory are estimates: from a short trial's step, and from the shapes of what is kept.",
            [
                Metric("Steps", Estimate.exact(estimate.steps, ""), 0),
                Metric("Parameters", Estimate.exact(estimate.parameters / 1e6, "M")),
                Metric("Memory, estimated", Estimate.exact(taken / 2**20, "MiB")),
            ],
        ),
        sections=[
            Section("What would run", [Columns([_training(estimate), figure(estimate)])]),
            Section("On what", [Columns([images_per_class(estimate.job.dataset), _memory(estimate)])]),
            Section("The recipe, complete", [Code(complete_recipe(estimate))]),
        ],
    )


def complete_recipe(estimate: TrainingEstimate) -> str:
    """TOML in which nothing is left to a default; what a recipe can do and this one doesn't stands in a comment.

    The model's fields are those that the recipe gives where it begins with weights, which hold the others.
    """
    job = estimate.job
    stored = job.recipe.to_dict()
    stored["preprocessing"] = {name: value for name, value in job.preprocess.to_dict().items() if name != "image_size"}
    if job.weights is None:
        stored["config"] = _without_none(job.architecture.config)
    unused = ", ".join(_unused(job.recipe.model_dump(exclude={"preprocessing", "config", "expected"})))
    comment = fill(f"Not used: {unused}.", _WIDEST, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    return f"{tomli_w.dumps(stored)}\n{comment}\n"


def _training(estimate: TrainingEstimate) -> Table:
    job, plan, recipe, time = estimate.job, estimate.plan, estimate.job.recipe, estimate.time
    rows, columns = job.preprocess.image_size
    facts = {
        "Model": f"{recipe.model}, {number(estimate.parameters, 0)} parameters",
        "Begins with": "fresh weights" if job.weights is None else f"the weights of {recipe.model}",
        "Image": f"{rows} x {columns} pixels, {short(estimate.macs)} multiply-accumulates to judge it",
        "Length": f"{estimate.steps:,} steps of {job.batch:,} images, {estimate.steps_per_epoch:,} an epoch: "
        f"{short(estimate.epochs)} epochs",
        "Work": f"{estimate.images:,} images forth and back, {short(estimate.training_macs)} multiply-accumulates",
        "Device": device_name(job.device),
        "Mode": str(plan.mode),
        "Memory that a step frees": f"is {plan.freed_memory}",
        "Processes": _processes(estimate),
        "At once": _parts(estimate),
        **({"Batch norm": _batch_norm(estimate)} if estimate.has_batch_norm else {}),
        "Keeps": "the weights that are best on validation"
        if "validation" in job.dataset.splits
        else "the last weights",
        "A step": f"{1000 * estimate.seconds_per_step:.0f} ms in the trial",
        "Time": f"about {duration(time.whole)}, estimated: {_times(estimate)}",
    }
    named: list[dict[str, Cell]] = [{"what": what, "is": value} for what, value in facts.items()]
    return Table("The training", [Column("what", "what"), Column("is", "is")], named)


def _processes(estimate: TrainingEstimate) -> str:
    if estimate.plan.processes == 1:
        return "one, which sees the whole batch"
    largest, smallest = estimate.shares[0], estimate.shares[-1]
    seen = f"{largest:,}" if largest == smallest else f"{smallest:,} or {largest:,}"
    include = "a shard of every tensor" if estimate.job.recipe.parallel == "fsdp" else "a copy of the model"
    return f"{estimate.plan.processes:,}, each with {include}, that see {seen} images of a batch each"


def _parts(estimate: TrainingEstimate) -> str:
    chunks = ceil(estimate.shares[0] / estimate.at_once)
    if chunks == 1:
        return f"{estimate.at_once:,} images go through the model"
    return f"{estimate.at_once:,} images go through the model, in {chunks:,} parts whose gradients add up"


def _batch_norm(estimate: TrainingEstimate) -> str:
    if estimate.at_once == estimate.job.batch:
        return "sees the whole batch"
    sees = "a process's share" if estimate.at_once == estimate.shares[0] else "a part"
    return f"sees {estimate.at_once:,} images, {sees} of the {estimate.job.batch:,}, and so learns other statistics"


def _times(estimate: TrainingEstimate) -> str:
    time = estimate.time
    shown = {"for steps": time.steps, "waiting for images": time.reading, "judging validation": time.validating}
    return ", ".join(f"{duration(seconds)} {what}" for what, seconds in shown.items() if seconds)


def images_per_class(dataset: Dataset) -> Table:
    counts = {split: np.bincount(one.labels, minlength=len(dataset.classes)) for split, one in dataset.splits.items()}
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
    rows = [_row(dataset.classes[label], {split: found[label] for split, found in counts.items()}) for label in order]
    rows.append(_row(f"all {len(dataset.classes):,}", {split: found.sum() for split, found in counts.items()}))
    return Table("Images a class", [Column("class", "class"), *(Column(split, split) for split in counts)], rows, notes)


def _row(name: str, counts: Mapping[str, np.integer]) -> dict[str, Cell]:
    return {"class": name, **{split: int(count) for split, count in counts.items()}}


def _memory(estimate: TrainingEstimate) -> Table:
    mebibytes = {what: taken / 2**20 for what, taken in estimate.memory.items()}
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
