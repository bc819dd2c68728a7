"""The report of a comparison: the answer first, with its uncertainty, then what stands behind it."""

from mixlab.report.page import Answer, Page, Section
from mixlab.studies.comparison import Comparison


def compare_page(comparison: Comparison) -> Page:
    return Page(
        title=comparison.title,
        answer=Answer(comparison.answer, ""),
        sections=[Section("All models", [comparison.table(), comparison.pairs_table()])],
    )
