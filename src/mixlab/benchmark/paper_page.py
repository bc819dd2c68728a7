"""The report of the papers' models on this machine."""

from mixlab.benchmark.paper_benchmark import PAPERS, PaperBenchmark
from mixlab.benchmark.paper_tables import agreement_table, block_table, conditions, trade_off_figures
from mixlab.report.machine import machine_facts
from mixlab.report.numbers import format_estimate
from mixlab.report.page import Details, KeyValues, Metric, Page, Section, Summary, written_by


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
                [*conditions(result), *(block_table(*key, rows) for key, rows in result.blocks().items())],
            ),
            Section("Machine", [Details("Machine and versions", [KeyValues(machine_facts(result.environment))])]),
        ],
        footer=written_by(result.environment["versions"]["mixlab"]),
    )


def _agreement_sentence(result: PaperBenchmark) -> str:
    parts = [
        f"{PAPERS[table]} {format_estimate(estimate, 2)} over {estimate.n} models"
        for (table, figure), estimate in result.agreement().items()
        if figure == "throughput"
    ]
    return f"Rank correlation of the throughput with that of the paper: {'; '.join(parts)}." if parts else ""
