"""The report of a probe."""

import torch

from mixlab.evaluation.probes.probe import ProbeResult
from mixlab.measure import machine
from mixlab.report.machine import machine_facts
from mixlab.report.page import KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.report.table import Cell, Column, Table
from mixlab.stats.intervals import proportion_interval


def probe_page(result: ProbeResult, device: torch.device) -> Page:
    """The conclusion, the tables of the result, the penalties that were tried, and the accuracy of each class.

    device  where the features were computed
    """
    environment = machine.describe(device)
    tables = [*result.tables(), *([_penalties(result)] if result.fitted[0].tried else []), _classes(result)]
    facts = {"Weights": result.source, "Data": result.data, "Probe": result.method.name}
    return Page(
        title=f"Frozen features of {result.source} on {result.data}",
        kicker=f"mixlab evaluate --probe {result.method.name}: {result.source}",
        summary=Summary(
            result.conclusion,
            "The weights were not trained further: this measures their features.",
            [Metric("top-1", result.top1, 1)],
        ),
        sections=[Section("Results", tables), Section("Run details", [KeyValues(facts | machine_facts(environment))])],
        footer=written_by(environment["versions"]["mixlab"]),
    )


def _penalties(result: ProbeResult) -> Table:
    fitted = result.fitted[0]
    rows: list[dict[str, Cell]] = [{"penalty": f"{penalty:g}", "top1": top1} for penalty, top1 in fitted.tried.items()]
    columns = [Column("penalty", "penalty"), Column("top1", "validation top-1", "%", digits=1)]
    return Table("Penalties", columns, rows)


def _classes(result: ProbeResult) -> Table:
    """Of the first draw of the training images, if there are several."""
    rows: list[dict[str, Cell]] = []
    for index, name in enumerate(result.classes):
        correct = result.correct[0, result.labels == index]
        if len(correct):
            accuracy = proportion_interval(int(correct.sum()), len(correct))
            rows.append({"class": name, "images": len(correct), "accuracy": accuracy})
    columns = [
        Column("class", "class"),
        Column("images", f"test {result.noun}s"),
        Column("accuracy", "correct", "%", digits=1, note=f"the 95 % interval is over the test {result.noun}s"),
    ]
    first = ["Of the first draw of the training images."] if len(result.fitted) > 1 else []
    return Table("Classes", columns, rows, first)
