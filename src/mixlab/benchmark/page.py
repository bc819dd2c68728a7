"""The report of a benchmark."""

from collections.abc import Mapping, Sequence
from typing import Any

from mixlab.benchmark.result import ModelBenchmark
from mixlab.benchmark.tables import model_table, ratio_tables, speed_figure
from mixlab.report.machine import machine_facts
from mixlab.report.page import Details, KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.report.text import join_words, pluralize


def benchmark_page(results: Sequence[ModelBenchmark], environment: Mapping[str, Any]) -> Page:
    """The page of the results; `environment` is the result of `mixlab.measure.machine.describe`."""
    models = list(dict.fromkeys(result.model for result in results))
    task = results[0].task
    return Page(
        title=f"Speed of {join_words(models, most=3)}",
        kicker=f"mixlab benchmark: {task}, {pluralize(len(models), 'model')}, {environment['device']}",
        summary=_summary(results),
        sections=[
            *(Section("Relative to peers", tables) for tables in [ratio_tables(results)] if tables),
            *(
                Section(f"{result.model}, batch {result.batch}", [speed_figure(result), model_table(result)])
                for result in results
            ),
            Section("Machine", [Details("Machine and versions", [KeyValues(machine_facts(environment))])]),
        ],
        footer=written_by(environment["versions"]["mixlab"]),
    )


def _summary(results: Sequence[ModelBenchmark]) -> Summary:
    stock = [ratio for result in results if (ratio := result.ratios["best_stock"])]
    if not stock:
        measured = "mixlab" if any(result.has_mixlab for result in results) else "exported models"
        return Summary(f"The speed of {measured} was measured.", "Stock PyTorch was not among the peers.")
    faster, slower = (
        sum(ratio.low is not None and ratio.low > 1 for ratio in stock),
        sum(ratio.high is not None and ratio.high < 1 for ratio in stock),
    )
    return Summary(
        f"mixlab is faster than the best stock PyTorch mode in {faster} of {pluralize(len(stock), 'measurement')}, and "
        f"slower in {slower}.",
        "A difference counts if the 95 % interval of the ratio excludes 1. Stock PyTorch is the fastest of fp32 and "
        "bf16, contiguous and channels last, with and without compilation as far as they were measured.",
        [
            Metric(f"{result.model}, batch {result.batch}: times the best stock mode", ratio, 2)
            for result in results
            if (ratio := result.ratios["best_stock"])
        ],
    )
