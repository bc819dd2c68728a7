"""Tables of `mixlab evaluate`: several human-readable ones, and a single machine-readable one with all numbers."""

from dataclasses import replace

from mixlab.evaluation.metrics import by_class, summary
from mixlab.evaluation.model_evaluation import ModelEvaluation
from mixlab.report.confusion import most_frequent
from mixlab.report.numbers import number
from mixlab.report.table import Cell, Column, Table
from mixlab.stats.intervals import proportion_interval

_CLASS_COLUMNS = [
    Column("class", "class"),
    *(
        Column(key, title, "%", digits=1, uncertainty="interval")
        for key, title in (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
    ),
]
_MAX_CONFUSIONS = 10


def tables(evaluated: ModelEvaluation) -> list[Table]:
    """The human-readable tables, in the order in which `mixlab evaluate` prints them."""
    table = summary_table(evaluated)  # without the notes, which contain local paths, in published model cards
    table = replace(table, notes=(*table.notes, *evaluated.notes))
    return [table, confidence_table(evaluated), class_table(evaluated), *confusion_tables(evaluated)]


def summary_table(evaluated: ModelEvaluation) -> Table:
    """The metrics in per cent, the accuracy of the majority class, and published results."""
    rows: list[dict[str, Cell]] = [
        {"measure": metric.title, "value": estimate}
        for metric, estimate in evaluated.summary.items()
        if metric.is_share
    ]
    if evaluated.real is not None:
        rows.append({"measure": "ReaL", "value": evaluated.real})
    rows.append({"measure": "majority class", "value": evaluated.majority})
    published = [f"{each.metric} {each.value:g} % on {each.on} ({each.reported_by})" for each in evaluated.expected]
    return Table(
        evaluated.title,
        [Column("measure", "measure"), Column("value", "value", "%", digits=1, uncertainty="interval")],
        rows,
        [
            f"Evaluated on: {evaluated.evaluated}, {evaluated.samples}.",
            f"Brackets are 95 % intervals over {evaluated.noun}s; they do not cover other trainings.",
            "Majority class: the accuracy of always predicting the most frequent class.",
            *(f"{name}: {value}." for name, value in evaluated.views.facts.items()),
            *([f"Published: {'; '.join(published)}."] if published else []),
        ],
    )


def confidence_table(evaluated: ModelEvaluation) -> Table:
    """The metrics of the confidences, and the same with the temperature that was fitted on validation images."""
    scaled = summary(evaluated.calibrated.evaluation) if evaluated.calibrated else {}
    metrics = [metric for metric in evaluated.summary if not metric.is_share]
    columns = [Column("measure", "measure"), Column("value", "value", digits=3, uncertainty="interval")]
    notes = [metric.sentence(evaluated.noun) for metric in metrics]
    if evaluated.calibrated is None:
        notes.append(f"Without validation {evaluated.noun}s, no temperature and no confidence threshold can be set.")
    else:
        columns.append(Column("scaled", "with the temperature", digits=3, uncertainty="interval"))
        notes.append(
            f"Temperature: logits divided by {number(evaluated.calibrated.temperature, 3)}, fitted on "
            f"{len(evaluated.calibrated.validation):,} validation {evaluated.noun}s. It changes no predicted class."
        )
    if evaluated.trusted is not None:
        notes.append(evaluated.trusted.conclusion(evaluated.noun))
    rows: list[dict[str, Cell]] = [
        {"measure": metric.title, "value": evaluated.summary[metric], "scaled": scaled.get(metric)}
        for metric in metrics
    ]
    return Table("Confidence", columns, rows, notes)


def class_table(evaluated: ModelEvaluation) -> Table:
    """Precision, recall, F1 and the number of images of every class."""
    rows: list[dict[str, Cell]] = [
        {
            "class": metrics.name,
            "precision": metrics.precision,
            "recall": metrics.recall,
            "f1": metrics.f1,
            "images": metrics.images,
        }
        for metrics in by_class(evaluated.evaluation)
    ]
    return Table(
        "Every class",
        [*_CLASS_COLUMNS, Column("images", f"{evaluated.noun}s")],
        rows,
        [
            f"Recall: the share of a class's {evaluated.noun}s that are classified correctly. Precision: the share "
            "of the predictions of a class that are correct. F1: the harmonic mean of precision and recall."
        ],
    )


def confusion_tables(evaluated: ModelEvaluation) -> list[Table]:
    """A table of the most frequent confusions; empty if all predictions are correct."""
    confusion, classes = evaluated.evaluation.confusion, evaluated.evaluation.classes
    images = confusion.sum(axis=1)
    rows: list[dict[str, Cell]] = [
        {
            "class": classes[true],
            "predicted": classes[predicted],
            "images": count,
            "share": proportion_interval(count, int(images[true])),
        }
        for true, predicted, count in most_frequent(confusion, _MAX_CONFUSIONS)
    ]
    columns = [
        Column("class", "class"),
        Column("predicted", "predicted"),
        Column("images", f"{evaluated.noun}s"),
        Column("share", "of the class", "%", digits=1, uncertainty="interval"),
    ]
    return [Table("Most frequent confusions", columns, rows)] if rows else []


def full_table(evaluated: ModelEvaluation) -> Table:
    """The machine-readable table: one row for each metric of the model, then for each metric of each class.

    Metrics with the temperature are called "scaled_", followed by the name of the metric.
    """
    rows: list[dict[str, Cell]] = [
        {"measure": metric.key, "class": None, "value": estimate} for metric, estimate in evaluated.summary.items()
    ]
    if evaluated.real is not None:
        rows.append({"measure": "real", "class": None, "value": evaluated.real})
    if evaluated.calibrated is not None:
        scaled = summary(evaluated.calibrated.evaluation)
        rows += [
            {"measure": f"scaled_{metric.key}", "class": None, "value": estimate} for metric, estimate in scaled.items()
        ]
    rows.append({"measure": "majority_class", "class": None, "value": evaluated.majority})
    for row in class_table(evaluated).rows:
        rows += [
            {"measure": column.key, "class": row["class"], "value": row[column.key]} for column in _CLASS_COLUMNS[1:]
        ]
    return Table(
        evaluated.title,
        [Column("measure", "measure"), Column("class", "class"), Column("value", "value", "%")],
        rows,
    )
