"""The report of the papers' models on this machine, and its results.json."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from mixlab.benchmark.paper_benchmark import PAPERS, PaperBenchmark
from mixlab.benchmark.paper_tables import agreement_table, block_table, conditions, trade_off_figures
from mixlab.report.machine import machine_facts
from mixlab.report.numbers import format_estimate
from mixlab.report.page import Details, KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.report.table import Table


def paper_page(result: PaperBenchmark) -> Page:
    agreement = result.agreement()
    return Page(
        title="The papers' models on this machine",
        kicker=f"mixlab benchmark --paper: {result.environment['device']}",
        summary=Summary(
            f"{len(result.measured)} of the {len(result.rows)} rows of the papers' tables were measured here.",
            _agreement_sentence(result),
            [
                Metric(f"{PAPERS[table]}: rank correlation of the throughput", estimate, 2)
                for (table, figure), estimate in agreement.items()
                if figure == "throughput"
            ],
        ),
        sections=[
            Section("Agreement with the papers", [agreement_table(result)]),
            Section("Accuracy against cost", trade_off_figures(result)),
            Section(
                "All rows",
                [*conditions(result), *_block_tables(result)],
            ),
            Section("Machine", [Details("Machine and versions", [KeyValues(machine_facts(result.environment))])]),
        ],
        footer=written_by(result.environment["versions"]["mixlab"]),
    )


def paper_record(result: PaperBenchmark, page: Page) -> dict[str, Any]:
    """The content of results.json: the rows, and what the results of studies have, too. `page`: of the result."""
    return {
        "title": page.title,
        "command": "mixlab benchmark --paper",
        "date": date.today().isoformat(),
        "summary": f"{page.summary.sentence} {page.summary.uncertainty}".strip(),
        "notes": conditions(result),
        "tables": [table.to_dict() for table in paper_tables(result)],
        "environment": dict(result.environment),
    } | result.to_dict()


def paper_tables(result: PaperBenchmark) -> list[Table]:
    """The agreement with the papers, and all rows."""
    return [agreement_table(result), *_block_tables(result)]


def _block_tables(result: PaperBenchmark) -> Sequence[Table]:
    return [block_table(*key, rows) for key, rows in result.blocks().items()]


def _agreement_sentence(result: PaperBenchmark) -> str:
    parts = [
        f"{PAPERS[table]} {format_estimate(estimate, 2)} over {estimate.n} models"
        for (table, figure), estimate in result.agreement().items()
        if figure == "throughput"
    ]
    return f"Rank correlation of the throughput with that of the paper: {'; '.join(parts)}." if parts else ""
