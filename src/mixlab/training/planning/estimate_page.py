"""The estimate of a training as terminal output and as a report page: tables, learning rate curve, complete recipe."""

import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from math import ceil
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

import numpy as np
import tomli_w

from mixlab.data.dataset import Dataset
from mixlab.data.labels import class_counts
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.files import write_text
from mixlab.measure.machine import device_name
from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.numbers import duration, number, short
from mixlab.report.page import Code, Columns, Metric, Page, Section, Summary, written_by
from mixlab.report.table import Cell, Column, Table, print_table
from mixlab.report.terminal import glyphs_of, terminal_curve
from mixlab.report.text import pluralize
from mixlab.report.time_series import power_of_ten, time_series
from mixlab.stats.estimate import Estimate
from mixlab.training.planning.estimate import TrainingEstimate

_MAX_CLASSES = 10
"""Number of classes with the most images in the table of classes, and of those with the fewest."""
_MAX_WIDTH = 100
UNITS = {"image": "pixels", "sound": "pixels of its spectrogram", "text": "tokens and features"}
"""The units of the input of a model, by the noun of a sample."""
_EPOCH, _RATE = Axis("Epoch"), Axis("Learning rate")


def print_estimate(estimate: TrainingEstimate) -> None:
    """Print the estimate to standard output, at the width of the terminal."""
    print(complete_recipe(estimate))
    for table in tables(estimate):
        print_table(table)
        print()
    width = min(get_terminal_size().columns, _MAX_WIDTH)
    print(
        terminal_curve(estimate.lr_curve, x=_EPOCH, y=_RATE, width=width, glyphs=glyphs_of(sys.stdout.encoding)), end=""
    )


def figure_writer(file: Path) -> Callable[[TrainingEstimate], None]:
    """A function that writes an estimate to `file`: a page for .html, the learning rate curve for .png.

    Raises UserError for another suffix.
    """
    match file.suffix.lower():
        case ".html":
            return lambda estimate: write_text(file, page(estimate).html())
        case ".png":
            return lambda estimate: figure(estimate).save_png(file)
        case suffix:
            raise UserError(
                f'--figure {file} has the suffix "{suffix}": use .html for a page of the estimate, or .png for the '
                "learning rate curve."
            )


def tables(estimate: TrainingEstimate) -> list[Table]:
    """The tables of training, samples per class, and memory."""
    return [_training(estimate), samples_per_class(estimate.job.dataset), _memory(estimate)]


def figure(estimate: TrainingEstimate) -> Figure:
    """The learning rate curve."""
    return time_series(
        "Learning rate", [power_of_ten("Learning rate", estimate.lr_curve)], x=_EPOCH, end=estimate.epochs
    )


def page(estimate: TrainingEstimate) -> Page:
    """The report page of an estimate."""
    recipe, time = estimate.job.recipe, estimate.time
    memory = sum(estimate.memory.values())
    return Page(
        title=f"{recipe.model} on {recipe.data}",
        kicker="mixlab train --dry-run: only this page was written",
        summary=Summary(
            f"The training takes about {duration(time.total)} on {device_name(estimate.job.device)}.",
            "Time and memory are estimates, from a few timed steps and from the shapes of the tensors.",
            [
                Metric("Steps", Estimate.exact(estimate.steps, ""), 0),
                Metric("Parameters", Estimate.exact(estimate.parameters / 1e6, "M")),
                Metric("Memory, estimated", Estimate.exact(memory / 2**20, "MiB")),
            ],
        ),
        sections=[
            Section("Training", [Columns([_training(estimate), figure(estimate)])]),
            Section("Data and memory", [Columns([samples_per_class(estimate.job.dataset), _memory(estimate)])]),
            Section("Complete recipe", [Code(complete_recipe(estimate))]),
        ],
        footer=written_by(version("mixlab")),
    )


def complete_recipe(estimate: TrainingEstimate) -> str:
    """The resolved recipe as TOML with all defaults. Keys without a value are listed in a comment.

    [config] has all fields of the model, or only those of the recipe if the training starts from pretrained weights.
    """
    job = estimate.job
    stored = job.recipe.to_dict()
    if isinstance(job.preprocess, Preprocess):
        values = job.preprocess.to_dict().items()
        stored["preprocessing"] = {name: value for name, value in values if name != "image_size"}
    if job.weights is None:
        stored["config"] = _without_none(job.architecture.config)
    unused = ", ".join(_unused(job.recipe.model_dump(exclude={"preprocessing", "config", "expected"})))
    comment = fill(
        f"Not used: {unused}.", _MAX_WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )
    return f"{tomli_w.dumps(stored)}\n{comment}\n"


def _training(estimate: TrainingEstimate) -> Table:
    job, plan, recipe, time = estimate.job, estimate.plan, estimate.job.recipe, estimate.time
    noun = job.dataset.noun
    shape = f"{' x '.join(map(str, job.preprocess.input_shape[-2:]))} {UNITS[noun]}"
    facts = {
        "Model": f"{recipe.model}, {number(estimate.parameters, 0)} parameters",
        "Initial weights": "random" if job.weights is None else f"those of {recipe.model}",
        noun.capitalize(): f"{shape}, {short(estimate.macs)} MACs per forward pass",
        "Length": f"{estimate.steps:,} steps of {job.batch:,} {noun}s, "
        f"{estimate.steps_per_epoch:,} per epoch: "
        f"{short(estimate.epochs)} {'epoch' if estimate.epochs == 1 else 'epochs'}",
        "Compute": f"{estimate.images:,} {noun}s forward and backward, {short(estimate.training_macs)} MACs",
        "Device": device_name(job.device),
        "Compute mode": str(plan.mode),
        "Freed memory": plan.freed_memory,
        "Processes": _processes(estimate),
        "Micro-batch": _micro_batch(estimate),
        **({"Batch norm": _batch_norm(estimate)} if estimate.has_batch_norm else {}),
        "Saved weights": "those with the best validation accuracy"
        if "validation" in job.dataset.splits
        else "those of the last step",
        "Time per step": f"{1000 * estimate.seconds_per_step:.0f} ms, measured",
        "Time": f"about {duration(time.total)}, estimated: {_times(estimate)}",
    }
    rows_of_facts: list[dict[str, Cell]] = [{"what": name, "is": value} for name, value in facts.items()]
    return Table("Training", [Column("what", "property"), Column("is", "value")], rows_of_facts)


def _processes(estimate: TrainingEstimate) -> str:
    if estimate.plan.processes == 1:
        return "1, with the whole batch"
    largest, smallest = estimate.images_per_process[0], estimate.images_per_process[-1]
    share = f"{largest:,}" if largest == smallest else f"{smallest:,} or {largest:,}"
    model = "a shard of every tensor" if estimate.job.recipe.parallel == "fsdp" else "a copy of the model"
    return f"{estimate.plan.processes:,}, each with {model} and {share} {estimate.job.dataset.noun}s of each batch"


def _micro_batch(estimate: TrainingEstimate) -> str:
    chunks = ceil(estimate.images_per_process[0] / estimate.largest_micro_batch)
    size = _largest_micro_batch(estimate)
    return size if chunks == 1 else f"{size}; gradients are accumulated over {chunks:,} micro-batches"


def _largest_micro_batch(estimate: TrainingEstimate) -> str:
    return pluralize(estimate.largest_micro_batch, estimate.job.dataset.noun)


def _batch_norm(estimate: TrainingEstimate) -> str:
    if estimate.largest_micro_batch == estimate.job.batch:
        return "statistics of the whole batch"
    share = (
        "the share of one process"
        if estimate.largest_micro_batch == estimate.images_per_process[0]
        else "one micro-batch"
    )
    size = _largest_micro_batch(estimate)
    return f"statistics of {size} ({share}) instead of the whole batch of {estimate.job.batch:,}"


def _times(estimate: TrainingEstimate) -> str:
    time, waiting = estimate.time, f"waiting for {estimate.job.dataset.noun}s"
    parts = {"for steps": time.steps, waiting: time.reading, "for validation": time.validating}
    return ", ".join(f"{duration(seconds)} {purpose}" for purpose, seconds in parts.items() if seconds)


def samples_per_class(dataset: Dataset) -> Table:
    """The number of samples of each class in each split; with many classes, of those with the most and the fewest."""
    counts = {name: class_counts(split.labels, len(dataset.classes)) for name, split in dataset.splits.items()}
    notes: list[str] = []
    order = list(range(len(dataset.classes)))
    if len(order) > 2 * _MAX_CLASSES:
        order.sort(key=lambda label: -counts["train"][label])
        left_out = order[_MAX_CLASSES:-_MAX_CLASSES]
        order = order[:_MAX_CLASSES] + order[-_MAX_CLASSES:]
        most, fewest = (int(counts["train"][left_out[position]]) for position in (0, -1))
        notes.append(
            f"{len(left_out):,} more classes with {fewest:,} to {most:,} training {dataset.noun}s are not shown."
        )
    rows = [_row(dataset.classes[label], {split: count[label] for split, count in counts.items()}) for label in order]
    rows.append(_row(f"all {len(dataset.classes):,}", {split: count.sum() for split, count in counts.items()}))
    columns = [Column("class", "class"), *(Column(split, split) for split in counts)]
    return Table(f"{dataset.noun.capitalize()}s per class", columns, rows, notes)


def _row(name: str, counts: Mapping[str, np.integer]) -> dict[str, Cell]:
    return {"class": name, **{split: int(count) for split, count in counts.items()}}


def _memory(estimate: TrainingEstimate) -> Table:
    mebibytes = {purpose: size / 2**20 for purpose, size in estimate.memory.items()}
    rows: list[dict[str, Cell]] = [{"what": purpose, "mebibytes": size} for purpose, size in mebibytes.items()]
    rows.append({"what": "total", "mebibytes": sum(mebibytes.values())})
    return Table(
        "Memory of one process, estimated",
        [Column("what", "purpose"), Column("mebibytes", "memory", "MiB", digits=1)],
        rows,
        [
            f"Not included: libraries, their workspaces, and {estimate.job.dataset.noun}s that stay in the machine's "
            "memory."
        ],
    )


def _unused(section: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys without a value, with dots between sections."""
    for key, value in section.items():
        if value is None:
            yield prefix + key
        elif isinstance(value, Mapping):
            yield from _unused(value, f"{prefix}{key}.")


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
