"""A judgement in tables: for people, and one long table for programs."""

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
_MEASURES_OF_A_CLASS = ("precision", "recall", "f1")
_CONFUSIONS = 10


def tables(run_evaluation: RunEvaluation) -> list[Table]:
    return [summary_table(run_evaluation), class_table(run_evaluation), *confusion_tables(run_evaluation)]


def summary_table(run_evaluation: RunEvaluation) -> Table:
    rows: list[dict[str, Cell]] = [
        {"measure": TITLES[measure], "value": estimate} for measure, estimate in run_evaluation.summary.items()
    ]
    rows.append({"measure": "majority class", "value": run_evaluation.majority})
    return Table(
        run_evaluation.title,
        [Column("measure", "measure"), Column("value", "reached", "%", digits=1, uncertainty="interval")],
        rows,
        [
            f"Judged: {run_evaluation.evaluated}, {run_evaluation.images}.",
            "Brackets are 95 % intervals over images, for this one training.",
            "Majority class: always the commonest class, whatever the image shows.",
        ],
    )


def class_table(run_evaluation: RunEvaluation) -> Table:
    columns = [
        Column("class", "class"),
        *(Column(measure, TITLES[measure], "%", digits=1, uncertainty="interval") for measure in _MEASURES_OF_A_CLASS),
        Column("images", "images"),
    ]
    rows: list[dict[str, Cell]] = [
        {"class": one.name, "precision": one.precision, "recall": one.recall, "f1": one.f1, "images": one.images}
        for one in run_evaluation.evaluation.by_class
    ]
    return Table(
        "Every class",
        columns,
        rows,
        [
            "Recall: how many of a class's images were recognised. Precision: how many of the answers with it were "
            "right. F1: their harmonic mean."
        ],
    )


def confusion_tables(run_evaluation: RunEvaluation) -> list[Table]:
    """The worst confusions; no table where there was none."""
    confusion, classes = run_evaluation.evaluation.confusion, run_evaluation.evaluation.classes
    wrong = confusion - np.diag(np.diag(confusion))
    worst = np.argsort(-wrong, axis=None, kind="stable")[: min(_CONFUSIONS, np.count_nonzero(wrong))]
    rows: list[dict[str, Cell]] = [
        {
            "class": classes[true],
            "answer": classes[answer],
            "images": int(wrong[true, answer]),
            "share": proportion_interval(int(wrong[true, answer]), int(confusion[true].sum())),
        }
        for true, answer in (divmod(int(place), len(classes)) for place in worst)
    ]
    columns = [
        Column("class", "class"),
        Column("answer", "taken for"),
        Column("images", "images"),
        Column("share", "of the class", "%", digits=1, uncertainty="interval"),
    ]
    return [Table("Worst confusions", columns, rows)] if rows else []


def full_table(run_evaluation: RunEvaluation) -> Table:
    """A row for each measure, and for each measure of a class."""
    rows: list[dict[str, Cell]] = [
        {"measure": measure, "class": None, "value": estimate}
        for measure, estimate in (*run_evaluation.summary.items(), ("majority_class", run_evaluation.majority))
    ]
    for row in class_table(run_evaluation).rows:
        rows += [{"measure": measure, "class": row["class"], "value": row[measure]} for measure in _MEASURES_OF_A_CLASS]
    return Table(
        run_evaluation.title,
        [Column("measure", "measure"), Column("class", "class"), Column("value", "value", "%")],
        rows,
    )
