"""Tables of `mixlab evaluate`: several human-readable ones, and a single machine-readable one with all numbers."""

from dataclasses import replace

import numpy as np

from mixlab.evaluation.run_evaluation import RunEvaluation
from mixlab.report.table import Cell, Column, Table
from mixlab.stats.intervals import proportion_interval

TITLES = {
    "top1": "top-1",
    "top5": "top-5",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
}
_CLASS_MEASURES = ("precision", "recall", "f1")
_MAX_CONFUSIONS = 10


def tables(run_evaluation: RunEvaluation) -> list[Table]:
    """The human-readable tables, in the order in which `mixlab evaluate` prints them."""
    summary = summary_table(run_evaluation)  # without the notes, which contain local paths, in published model cards
    summary = replace(summary, notes=(*summary.notes, *run_evaluation.unseen.notes))
    return [summary, class_table(run_evaluation), *confusion_tables(run_evaluation)]


def summary_table(run_evaluation: RunEvaluation) -> Table:
    """The metrics of the model and the accuracy of the majority class."""
    rows: list[dict[str, Cell]] = [
        {"measure": TITLES[measure], "value": estimate} for measure, estimate in run_evaluation.summary.items()
    ]
    rows.append({"measure": "majority class", "value": run_evaluation.majority})
    return Table(
        run_evaluation.title,
        [Column("measure", "measure"), Column("value", "value", "%", digits=1, uncertainty="interval")],
        rows,
        [
            f"Evaluated on: {run_evaluation.evaluated}, {run_evaluation.images}.",
            "Brackets are 95 % intervals over images; they do not cover other trainings.",
            "Majority class: the accuracy of always predicting the most frequent class.",
        ],
    )


def class_table(run_evaluation: RunEvaluation) -> Table:
    """Precision, recall, F1 and the number of images of every class."""
    columns = [
        Column("class", "class"),
        *(Column(measure, TITLES[measure], "%", digits=1, uncertainty="interval") for measure in _CLASS_MEASURES),
        Column("images", "images"),
    ]
    rows: list[dict[str, Cell]] = [
        {
            "class": metrics.name,
            "precision": metrics.precision,
            "recall": metrics.recall,
            "f1": metrics.f1,
            "images": metrics.images,
        }
        for metrics in run_evaluation.evaluation.by_class
    ]
    return Table(
        "Every class",
        columns,
        rows,
        [
            "Recall: the share of a class's images that are classified correctly. Precision: the share of the "
            "predictions of a class that are correct. F1: the harmonic mean of precision and recall."
        ],
    )


def confusion_tables(run_evaluation: RunEvaluation) -> list[Table]:
    """A table of the most frequent confusions; empty if all predictions are correct."""
    confusion, classes = run_evaluation.evaluation.confusion, run_evaluation.evaluation.classes
    wrong = confusion - np.diag(np.diag(confusion))
    worst = np.argsort(-wrong, axis=None, kind="stable")[: min(_MAX_CONFUSIONS, np.count_nonzero(wrong))]
    rows: list[dict[str, Cell]] = [
        {
            "class": classes[true],
            "predicted": classes[predicted],
            "images": int(wrong[true, predicted]),
            "share": proportion_interval(int(wrong[true, predicted]), int(confusion[true].sum())),
        }
        for true, predicted in (divmod(int(index), len(classes)) for index in worst)
    ]
    columns = [
        Column("class", "class"),
        Column("predicted", "predicted"),
        Column("images", "images"),
        Column("share", "of the class", "%", digits=1, uncertainty="interval"),
    ]
    return [Table("Most frequent confusions", columns, rows)] if rows else []


def full_table(run_evaluation: RunEvaluation) -> Table:
    """The machine-readable table: one row for each metric of the model, then for each metric of each class."""
    rows: list[dict[str, Cell]] = [
        {"measure": measure, "class": None, "value": estimate}
        for measure, estimate in (*run_evaluation.summary.items(), ("majority_class", run_evaluation.majority))
    ]
    for row in class_table(run_evaluation).rows:
        rows += [{"measure": measure, "class": row["class"], "value": row[measure]} for measure in _CLASS_MEASURES]
    return Table(
        run_evaluation.title,
        [Column("measure", "measure"), Column("class", "class"), Column("value", "value", "%")],
        rows,
    )
