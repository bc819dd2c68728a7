"""Classification tasks from prepared datasets of TensorFlow Datasets, and the score of a probe over several of them.

The datasets are read from a folder with the layout of TFDS, NAME/CONFIG/VERSION; nothing is downloaded.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mixlab.data.dataset import Dataset
from mixlab.data.readers.tfds import Target, read_prepared
from mixlab.errors import UserError
from mixlab.evaluation.probes.features import open_backbone
from mixlab.evaluation.probes.probe import ProbeResult, parse_probe, probe
from mixlab.measure import machine
from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.forest_plot import forest_plot
from mixlab.report.machine import software_sentence
from mixlab.report.numbers import number
from mixlab.report.page import Section, Summary
from mixlab.report.progress import Log
from mixlab.report.references import bibtex
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.stats.estimate import Estimate
from mixlab.studies.result import Finding, run_details
from mixlab.zoo.references import model_references


@dataclass(frozen=True, kw_only=True)
class Task:
    """A classification task. Its metric is top-1.

    name        unique among the tasks of a study
    source      NAME or NAME/CONFIG in TFDS
    train       the split in terms of TFDS, such as "train[:800]"
    validation  the same
    test        the same
    group       tasks of the same kind; "" if the study has no groups
    target      the classes; the name of a ClassLabel feature for its own
    brightness  factor for pixel values, for images that are stored with a smaller range
    """

    name: str
    source: str
    train: str
    validation: str
    test: str
    group: str = ""
    target: Target | str = "label"
    brightness: int = 1

    def open(self, folder: Path, *, quiet: bool) -> Dataset:
        """Read the task from `folder`. Raises UserError if its dataset is not there or can't be read."""
        versions = [file.parent for file in (folder / self.source).glob("*/dataset_info.json")]
        if not versions:
            raise UserError(f"{folder / self.source} has no prepared dataset: {self.instruction(folder)}")
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return read_prepared(max(versions, key=_version), splits, self.target, brightness=self.brightness, quiet=quiet)

    def instruction(self, folder: Path) -> str:
        """How to prepare the dataset."""
        name, _, config = self.source.partition("/")
        option = f" --config={config}" if config else ""
        return f"run `tfds build {name}{option} --file_format=array_record --data_dir={folder}`, or copy it there."


def _version(folder: Path) -> list[int]:
    return [int(part) for part in folder.name.split(".") if part.isdigit()]


def tfds_folder(given: str) -> Path:
    """The folder of prepared datasets: `given` if not empty, $TFDS_DATA_DIR, or TFDS's default."""
    return Path(given or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


class TasksSettings(Protocol):
    """The options of a study of tasks.

    model   weights that `mixlab.load` accepts
    probe   as for `parse_probe`
    folder  of the prepared datasets; "": as `tfds_folder`
    batch   images per forward pass
    """

    @property
    def model(self) -> str: ...
    @property
    def probe(self) -> str: ...
    @property
    def folder(self) -> str: ...
    @property
    def batch(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class TasksResult:
    """The accuracy of a probe on every task: a StudyResult.

    score    what the mean over all tasks is called
    tasks    all tasks of the study
    results  by the name of the task, of those that could be evaluated
    missing  by the name of the task, why the others could not
    references  keys of `mixlab.report.references`
    """

    title: str
    command: str
    score: str
    settings: TasksSettings
    tasks: Sequence[Task]
    results: Mapping[str, ProbeResult]
    missing: Mapping[str, str]
    notes: tuple[str, ...]
    references: tuple[str, ...]
    environment: Mapping[str, Any]

    @property
    def kicker(self) -> str:
        evaluated = f"{len(self.results)} of {pluralize(len(self.tasks), 'task')}"
        return f"{self.command}: {self.settings.model}, {self.settings.probe}, {evaluated}"

    @property
    def mean(self) -> Estimate:
        """The plain mean of top-1 over the evaluated tasks, in per cent."""
        return mean_of([result.top1 for result in self.results.values()])

    @property
    def summary(self) -> Summary:
        mean = self.mean
        value = f"{number(mean.value, 1)} %"
        if self.missing:
            sentence = (
                f"The mean top-1 of {self.settings.model} is {value} on {len(self.results)} of "
                f"{pluralize(len(self.tasks), 'task')}. This is not {self.score}, which needs all of them."
            )
        else:
            sentence = f"{self.score} of {self.settings.model} with frozen features is {value}."
        assert mean.low is not None and mean.high is not None  # every top-1 has an interval
        interval = f"95 % interval over the test images: {number(mean.low, 1)} to {number(mean.high, 1)} %."
        return Summary(sentence, interval)

    def findings(self) -> list[Finding]:
        return []

    def tables(self) -> list[Table]:
        rows = [self._row(task) for task in self.tasks]
        columns = [
            Column("task", "task"),
            Column("group", "group"),
            Column("train_images", "training images"),
            Column("test_images", "test images"),
            Column("top1", "top-1", "%", digits=1, uncertainty="interval"),
        ]
        missing = [f"{name} is missing: {reason}" for name, reason in self.missing.items()]
        tasks = Table(
            f"{self.settings.probe} on frozen features of {self.settings.model}", columns, rows, [*self.notes, *missing]
        )
        groups = list(dict.fromkeys(task.group for task in self.tasks if task.group))
        return [tasks, self._means(groups)]

    def figures(self) -> list[Figure]:
        top1 = {name: result.top1 for name, result in self.results.items()}
        caption = "Lines are 95 % intervals over the test images."
        return [forest_plot("Top-1 of each task", top1, Axis("Top-1", "%", "higher", digits=1), caption=caption)]

    @property
    def methods(self) -> str:
        return (
            f"The probe {self.settings.probe} was fitted to frozen features of {self.settings.model} on the training "
            f"images of {len(self.results)} of {pluralize(len(self.tasks), 'task')}, and evaluated on all test images "
            "of each. The mean is the plain mean of top-1 over the tasks. Intervals are 95 % intervals over the test "
            f"images, and there are no tests. {software_sentence(self.environment)}"
        )

    @property
    def bibtex(self) -> str:
        return bibtex(self.references)

    def details(self) -> Section:
        return run_details(self)

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.settings.model,
            "probe": self.settings.probe,
            "settings": dict(vars(self.settings)),
            "complete": not self.missing,
            "mean": asdict(self.mean),
            "tasks": [
                {"name": task.name, "group": task.group, "source": task.source, "metric": "top-1"}
                | ({"reason": self.missing[task.name]} if task.name in self.missing else {})
                | (self.results[task.name].to_dict() if task.name in self.results else {})
                for task in self.tasks
            ],
        }

    def _row(self, task: Task) -> dict[str, Cell]:
        row: dict[str, Cell] = {"task": task.name, "group": task.group}
        if task.name in self.missing:
            return row
        result = self.results[task.name]
        return row | {
            "train_images": result.fitted[0].images,
            "test_images": len(result.labels),
            "top1": result.top1,
        }

    def _means(self, groups: Sequence[str]) -> Table:
        rows: list[dict[str, Cell]] = []
        for group in groups:
            names = [task.name for task in self.tasks if task.group == group]
            evaluated = [self.results[name].top1 for name in names if name in self.results]
            mean = mean_of(evaluated) if evaluated else None
            rows.append({"group": group, "tasks": f"{len(evaluated)} of {len(names)}", "top1": mean})
        counted = f"{len(self.results)} of {len(self.tasks)}"
        rows.append({"group": "all", "tasks": counted, "top1": self.mean})
        columns = [
            Column("group", "group"),
            Column("tasks", "tasks"),
            Column("top1", "mean top-1", "%", digits=1, uncertainty="interval"),
        ]
        note = "The mean of the tasks, whatever their number of test images. Its interval is over the test images."
        return Table("Means", columns, rows, [note])


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates that have intervals. Half widths add in quadrature."""
    lows, highs, values = (
        np.array([getattr(each, name) for each in estimates], dtype=float) for name in ("low", "high", "value")
    )
    value, count = float(values.mean()), len(estimates)
    below, above = (float(np.sqrt(((end - values) ** 2).sum())) / count for end in (lows, highs))
    return Estimate(value, value - below, value + above, n=sum(each.n for each in estimates), unit=estimates[0].unit)


def run_tasks(
    tasks: Sequence[Task],
    settings: TasksSettings,
    *,
    title: str,
    command: str,
    score: str,
    notes: tuple[str, ...],
    references: tuple[str, ...] = (),
    quiet: bool,
    log: Log,
) -> TasksResult:
    """Evaluate a probe of a model on every task whose dataset is there.

    score       what the mean over all tasks is called
    references  keys of `mixlab.report.references`, of the tasks

    Raises UserError if the weights can't be loaded, or no task can be evaluated.
    """
    method, folder = parse_probe(settings.probe), tfds_folder(settings.folder)
    backbone = open_backbone(settings.model)
    results: dict[str, ProbeResult] = {}
    missing: dict[str, str] = {}
    for task in tasks:
        try:
            dataset = task.open(folder, quiet=quiet)
            results[task.name] = probe(settings.model, dataset, method, batch=settings.batch, quiet=quiet)
        except UserError as error:
            missing[task.name] = str(error)
        else:
            log(f"{task.name}: {results[task.name].top1.value:.1f} %")
    if not results:
        raise UserError(f"None of the {len(tasks)} tasks can be evaluated. The first one: {missing[tasks[0].name]}")
    return TasksResult(
        title=title,
        command=command,
        score=score,
        settings=settings,
        tasks=tasks,
        results=results,
        missing=missing,
        notes=notes,
        references=(*model_references(backbone.weights.architecture), *references),
        environment=machine.describe(),
    )
