"""Tables and page of `mixlab evaluate` with several runs, other methods or several data sets."""

import math
from dataclasses import replace

from mixlab.evaluation.corruption_evaluation import CorruptionEvaluation
from mixlab.evaluation.methods import Method, MethodsEvaluation
from mixlab.evaluation.metrics import METRICS, Metric
from mixlab.evaluation.model_evaluation_page import model_evaluation_page
from mixlab.evaluation.model_evaluation_tables import full_table
from mixlab.evaluation.model_evaluation_tables import tables as evaluation_tables
from mixlab.evaluation.paired_comparison import PairedComparison
from mixlab.evaluation.paired_comparison_tables import tables as comparison_tables
from mixlab.evaluation.paired_comparison_text import conclusion, scope, what_would_decide
from mixlab.measure import machine
from mixlab.report.machine import machine_facts
from mixlab.report.page import KeyValues, Page, Section, Summary, written_by
from mixlab.report.table import Cell, Column, Table
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.stats.paired import crossed_interval


def tables(result: MethodsEvaluation) -> list[Table]:
    """The human-readable tables, in the order in which `mixlab evaluate` prints them."""
    if result.single is not None:
        own = evaluation_tables(result.single)
    else:
        own = [runs_table(method) for methods in result.sets for method in methods if method.evaluations]
    compared = [table for comparison in result.comparisons for table in comparison_tables(comparison)]
    return [*own, *compared, *([result.over_sets.table(result.noun)] if result.over_sets else [])]


def full_tables(result: MethodsEvaluation) -> list[Table]:
    """The machine-readable tables: of all evaluated runs, and of the comparisons.

    With several runs or data sets, each row names its own.
    """
    evaluations = [one for methods in result.sets for method in methods for one in method.evaluations]
    compared = [table for comparison in result.comparisons for table in comparison_tables(comparison)]
    over_sets = [result.over_sets.table(result.noun)] if result.over_sets else []
    if len(evaluations) < 2:
        return [*map(full_table, evaluations), *compared, *over_sets]
    each = [(one, full_table(one)) for one in evaluations]
    rows = [{"run": one.source, "data": one.data, **row} for one, table in each for row in table.rows]
    columns = [Column("run", "run"), Column("data", "data"), *each[0][1].columns]
    return [Table("Evaluations", columns, rows), *compared, *over_sets]


def runs_table(method: Method) -> Table:
    """One row for each run, and their mean with its spread if there are several."""
    metrics = [
        metric
        for metric in METRICS
        if (metric.is_share or metric.key == "nll") and all(metric in one.summary for one in method.evaluations)
    ]
    rows: list[dict[str, Cell]] = [
        {"run": one.source, **{metric.key: one.summary[metric] for metric in metrics}} for one in method.evaluations
    ]
    first = method.evaluations[0]
    notes = [f"Brackets of a run are 95 % intervals over {first.noun}s."]
    if len(rows) > 1:
        rows.append({"run": "mean", **{metric.key: _mean(method, metric) for metric in metrics}})
        notes.append(
            f"Brackets of the mean: for top-1 over {first.noun}s and trainings, for other measures over trainings of "
            f"the same {first.noun}s."
        )
    columns = [
        Column("run", "run"),
        *(
            Column(
                metric.key, metric.title, "%" if metric.is_share else "", 1 if metric.is_share else 3, "", "interval"
            )
            for metric in metrics
        ),
    ]
    samples = f"Evaluated on: {first.evaluated}, {first.samples}."
    views = [f"{name}: {value}." for name, value in first.views.facts.items()]
    return Table(f"{method.predictions.model} on {first.data}", columns, rows, [samples, *views, *notes])


def _mean(method: Method, metric: Metric) -> Estimate:
    if metric.key == "top1":
        return crossed_interval(method.predictions.correct)
    values = [one.summary[metric] for one in method.evaluations]
    most = 100 if metric.is_share else math.inf
    return mean_interval((each.value for each in values), values[0].unit, least=0, most=most)


def methods_page(result: MethodsEvaluation, corrupted: CorruptionEvaluation | None) -> Page:
    """The report: that of the single evaluation with the comparisons, or the runs and their comparisons."""
    sections = [_section(comparison) for comparison in result.comparisons]
    if result.over_sets:
        sections.append(Section("Over all data sets", [result.over_sets.table(result.noun)]))
    if corrupted is not None:
        sections.append(Section("Corrupted images", [corrupted.table()]))
    if result.single is not None:
        page = model_evaluation_page(result.single)
        return replace(page, sections=[*sections, *page.sections])
    environment = machine.describe(machine.pick_device("cpu"))
    own = [runs_table(method) for methods in result.sets for method in methods if method.evaluations]
    first = result.sets[0][0]
    return Page(
        title=" and ".join(method.predictions.model for method in result.sets[0]),
        kicker=f"mixlab evaluate: {first.text}",
        summary=Summary(_accuracies(result), "The differences and what they show are below." if sections else ""),
        sections=[
            *sections,
            Section("Runs", own),
            Section("Run details", [*result.notes, KeyValues(machine_facts(environment))]),
        ],
        footer=written_by(environment["versions"]["mixlab"]),
    )


def _section(comparison: PairedComparison) -> Section:
    a, b = comparison.names
    accuracies, *others = comparison_tables(comparison)
    sentences = [conclusion(comparison), scope(comparison), *what_would_decide(comparison)]
    return Section(
        f"{a} against {b} on {comparison.a.data}",
        [
            *(sentence for sentence in sentences if sentence),
            replace(accuracies, notes=[note for note in accuracies.notes if note not in sentences]),
            *others,
        ],
    )


def _accuracies(result: MethodsEvaluation) -> str:
    shares = [
        f"{method.predictions.model} classifies {100 * method.predictions.correct.mean():.1f} % of the "
        f"{method.predictions.noun}s of {method.predictions.data} correctly"
        for methods in result.sets
        for method in methods
    ]
    return f"{'; '.join(shares)}."
