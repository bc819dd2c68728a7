"""What was evaluated, and the frame of the table, the page and results.json that evaluations of all tasks share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixlab.evaluation.prepare import PreparedEvaluation
from mixlab.measure import machine
from mixlab.report.machine import machine_facts
from mixlab.report.page import KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.stats.estimate import Estimate

SCHEMA = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class EvaluationSubject:
    """A model and the images or texts that it was evaluated on.

    noun         what was evaluated, "image", "sound" or "text"
    count        how many
    evaluated    which ones, in words
    left_out     the number of those that were left out because the model has learned from them
    environment  the machine and the library versions, see `mixlab.measure.machine.describe`
    """

    source: str
    model: str
    data: str
    noun: str
    count: int
    evaluated: str
    left_out: int
    notes: tuple[str, ...]
    environment: Mapping[str, Any]

    @property
    def title(self) -> str:
        return f"{self.model} on {self.data}"

    @property
    def samples(self) -> str:
        """Which images or texts were evaluated, and how many."""
        return f"{self.evaluated}, {pluralize(self.count, self.noun)}"

    def table(self, measures: Mapping[str, Estimate], notes: Sequence[str]) -> Table:
        """The measures of the whole, by title."""
        rows: list[dict[str, Cell]] = [{"measure": title, "value": value} for title, value in measures.items()]
        columns = [Column("measure", "measure"), Column("value", "value", "%", digits=1, uncertainty="interval")]
        return Table(self.title, columns, rows, [*notes, *self.notes])

    def results(self, task: str) -> dict[str, Any]:
        """The first entries of results.json."""
        return {
            "schema": SCHEMA,
            "task": task,
            "source": self.source,
            "model": self.model,
            "data": {
                "name": self.data,
                "evaluated": self.evaluated,
                f"{self.noun}s": self.count,
                "left_out": self.left_out,
            },
            "commit": self.environment["commit"],
            "device": self.environment["device"],
        }

    def page(
        self,
        conclusion: str,
        uncertainty: str,
        measures: Mapping[str, Estimate],
        sections: Sequence[Section],
        facts: Mapping[str, str],
    ) -> Page:
        """The report: a summary, `sections`, and the details of the run with `facts`."""
        details = {"Weights": self.source, "Data": f"{self.data}: {self.samples}", **facts}
        return Page(
            title=self.title,
            kicker=f"mixlab evaluate: {self.source}",
            summary=Summary(
                conclusion,
                f"Evaluated on: {self.samples}. {uncertainty}",
                [Metric(title, value, 1) for title, value in measures.items()],
            ),
            sections=[
                *sections,
                Section("Run details", [*self.notes, KeyValues(details | machine_facts(self.environment))]),
            ],
            footer=written_by(self.environment["versions"]["mixlab"]),
        )


def subject_of(prepared: PreparedEvaluation, count: int, unreadable: Mapping[str, str]) -> EvaluationSubject:
    """The subject of an evaluation. `unreadable` has the reason why an image was skipped, by its name."""
    skipped = (f"{image} was left out: {reason}." for image, reason in unreadable.items())
    return EvaluationSubject(
        source=prepared.source,
        model=prepared.model,
        data=prepared.dataset.name,
        noun=prepared.dataset.noun,
        count=count,
        evaluated=prepared.evaluated,
        left_out=prepared.unseen.left_out,
        notes=(*prepared.dataset.notes, *prepared.unseen.notes, *skipped),
        environment=machine.describe(prepared.device),
    )
