"""The results of studies: claims and their verdicts, tables, figures, JSON and the report page.

Claims are part of the source code of a study, written before it runs. Their verdicts follow by fixed rules.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import tomli_w

from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.forest_plot import forest_plot
from mixlab.report.machine import machine_facts
from mixlab.report.page import Code, Details, KeyValues, Page, Section, Summary, written_by
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.stats.paired import holm
from mixlab.stats.paired_t import equivalence_p, two_sided_p

SCHEMA = 2
ALPHA = 0.05
MIN_REPEATS = 3
"""With fewer repetitions, a note says that the intervals are unreliable."""

Verdict = Literal["agrees", "disagrees", "undecided", "not testable at this scale"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim about the difference between two arms.

    statement  the claim as a sentence
    contrast   the names of arms a and b; the difference is a - b, in percentage points of top-1
    expected   "higher": a is better; "lower": a is worse; "equal": they differ by less than `margin` points
    source     paper and section
    regime     how the data and models of the study differ from those of the source
    margin     for "equal", in percentage points
    testable   False if the study is too small to decide
    """

    statement: str
    contrast: tuple[str, str]
    expected: Literal["higher", "lower", "equal"]
    source: str
    regime: str
    margin: float = 0.0
    testable: bool = True


@dataclass(frozen=True)
class Finding:
    """The result for a claim.

    difference  of the two arms, in percentage points
    p_holm      p value of the difference from 0, or of equivalence for "equal", adjusted for all claims of the study
    """

    claim: Claim
    difference: Estimate
    p_holm: float

    @property
    def verdict(self) -> Verdict:
        """Whether the result agrees with the claim, at the level `ALPHA`."""
        low, high = self.difference.low, self.difference.high
        if not self.claim.testable or low is None or high is None:
            return "not testable at this scale"
        if self.claim.expected == "equal":
            if self.p_holm < ALPHA:
                return "agrees"
            return "disagrees" if max(low, -high) > self.claim.margin else "undecided"
        if self.p_holm >= ALPHA:
            return "undecided"
        return "agrees" if (self.difference.value > 0) == (self.claim.expected == "higher") else "disagrees"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict}


class StudyResult(Protocol):
    """The interface of a result that `study_page` and the command line use."""

    @property
    def title(self) -> str:
        """The question of the study."""
        ...

    @property
    def kicker(self) -> str:
        """The command, the data and the size of the study."""
        ...

    @property
    def environment(self) -> Mapping[str, Any]: ...
    @property
    def summary(self) -> Summary:
        """The result at the top of the page."""
        ...

    def findings(self) -> list[Finding]: ...
    def tables(self) -> list[Table]: ...
    def figures(self) -> list[Figure]: ...
    def details(self) -> Section:
        """Facts, recipes and plans of the trainings."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The content of results.json."""
        ...


@dataclass(frozen=True)
class Arm:
    """One way to train a model, repeated several times. Repetition i of every arm has the same seed and images.

    scores   top-1 in per cent of each repetition
    top1     their mean, with an interval
    columns  additional cells of the arm's row in the table
    details  additional fields in results.json
    """

    name: str
    scores: tuple[float, ...]
    top1: Estimate
    columns: Mapping[str, Cell] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def minus(self, other: "Arm") -> list[float]:
        """The differences between paired repetitions, in percentage points."""
        return np.subtract(self.scores, other.scores).tolist()

    def difference(self, other: "Arm") -> Estimate:
        """The mean difference in percentage points, with an interval."""
        return mean_interval(self.minus(other), "points", least=-100, most=100)


@dataclass(frozen=True, kw_only=True)
class ArmsResult:
    """The result of a study that compares arms: a StudyResult.

    repeats        what differs between the repetitions of an arm, in the plural: "seeds"
    top1_interval  what the intervals of top-1 are over
    columns        columns of the table of arms, in addition to name and top-1
    pairs          pairs of arms (a, b) in the table of differences
    facts          additional facts of the run details
    """

    title: str
    command: str
    data: str
    settings: Any
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]
    environment: Mapping[str, Any]
    repeats: str = "seeds"
    top1_interval: str = "seeds"
    pairs: tuple[tuple[str, str], ...] = ()
    columns: tuple[Column, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    plans: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def kicker(self) -> str:
        return f"{self.command}: {self.data}, {pluralize(len(self.arms[0].scores), self.repeats.removesuffix('s'))}"

    @property
    def summary(self) -> Summary:
        rule = "Claims were fixed before the study ran, and verdicts follow by rule."
        return Summary(_sentence(self.findings()), rule)

    def __getitem__(self, name: str) -> Arm:
        (arm,) = (arm for arm in self.arms if arm.name == name)
        return arm

    def findings(self) -> list[Finding]:
        p_values = []
        for claim in self.claims:
            differences = self[claim.contrast[0]].minus(self[claim.contrast[1]])
            equal = claim.expected == "equal"
            p = equivalence_p(differences, claim.margin) if equal else two_sided_p(differences)
            p_values.append(1.0 if math.isnan(p) else p)
        return [
            Finding(claim, self[claim.contrast[0]].difference(self[claim.contrast[1]]), p)
            for claim, p in zip(self.claims, holm(p_values) if p_values else [], strict=True)
        ]

    def tables(self) -> list[Table]:
        rows: list[dict[str, Cell]] = [{"name": arm.name, **arm.columns, "top1": arm.top1} for arm in self.arms]
        columns = [Column("name", "arm"), *self.columns, Column("top1", "top-1", "%", digits=1)]
        spread = f"± is the standard deviation over {self.repeats}."
        notes = [spread, *self._too_few(arm.top1 for arm in self.arms), *self.notes]
        arms = Table(f"Arms on {self.data}", columns, rows, notes)
        return [arms, self._differences()] if self.pairs else [arms]

    def figures(self) -> list[Figure]:
        caption = f"Points are means over {self.repeats}, lines 95 % intervals over {self.top1_interval}."
        top1 = {arm.name: arm.top1 for arm in self.arms}
        return [forest_plot("Top-1 of each arm", top1, Axis("Top-1", "%", "higher", digits=1), caption=caption)]

    def details(self) -> Section:
        plans = {f"Plan of {name}": f"{plan['precision']}, {plan['layout']}" for name, plan in self.plans.items()}
        recipes = [
            Details(f"Recipe of {name}", [Code(tomli_w.dumps(dict(recipe)))]) for name, recipe in self.recipes.items()
        ]
        facts = {**self.facts, **plans, **machine_facts(dict(self.environment))}
        return Section("Run details", [KeyValues(facts), *recipes])

    def to_dict(self) -> dict[str, Any]:
        pairs = [*self.pairs, *(claim.contrast for claim in self.claims)]
        return {
            "schema": SCHEMA,
            "data": self.data,
            "settings": asdict(self.settings),
            "environment": dict(self.environment),
            "recipes": {name: dict(recipe) for name, recipe in self.recipes.items()},
            "plans": {name: dict(plan) for name, plan in self.plans.items()},
            "arms": [
                {"name": arm.name, "scores": list(arm.scores), "top1": asdict(arm.top1), **arm.details}
                for arm in self.arms
            ],
            "pairs": [{"a": a, "b": b, **asdict(self[a].difference(self[b]))} for a, b in dict.fromkeys(pairs)],
            "findings": [finding.to_dict() for finding in self.findings()],
        }

    def _too_few(self, estimates: Iterable[Estimate]) -> list[str]:
        """Notes if there are too few repetitions for an interval, or for a reliable one."""
        repeats = pluralize(len(self.arms[0].scores), self.repeats.removesuffix("s"))
        notes = []
        if len(self.arms[0].scores) < MIN_REPEATS:
            notes.append(f"With {repeats}, the intervals are unreliable: give --seeds {MIN_REPEATS} or more.")
        if any(estimate.low is None for estimate in estimates):
            notes.append(f"Without interval: all {repeats} have the same value, so they are too few to estimate one.")
        return notes

    def _differences(self) -> Table:
        differences = [(a, b, self[a].difference(self[b])) for a, b in self.pairs]
        rows: list[dict[str, Cell]] = [{"a": a, "b": b, "difference": difference} for a, b, difference in differences]
        columns = [Column("a", "arm"), Column("b", "minus")]
        columns.append(Column("difference", "difference", "points", digits=2, uncertainty="interval"))
        note = f"95 % intervals over {self.repeats}, not adjusted for multiple comparisons; the claims are adjusted."
        return Table("Differences", columns, rows, [note, *self._too_few(difference for *_, difference in differences)])


def claims_table(findings: Sequence[Finding]) -> Table:
    """The claims with their differences and verdicts."""
    rows: list[dict[str, Cell]] = [
        {
            "statement": finding.claim.statement,
            "contrast": " − ".join(finding.claim.contrast),
            "difference": finding.difference,
            "p": finding.p_holm,
            "verdict": finding.verdict,
            "source": finding.claim.source,
        }
        for finding in findings
    ]
    columns = [
        Column("statement", "claim"),
        Column("contrast", "contrast"),
        Column("difference", "difference", "points", digits=2, uncertainty="interval"),
        Column("p", "p (Holm)", digits=4),
        Column("verdict", "verdict"),
        Column("source", "source"),
    ]
    regimes = dict.fromkeys(f"{finding.claim.source}: {finding.claim.regime}" for finding in findings)
    return Table("Claims", columns, rows, list(regimes))


def study_page(result: StudyResult, notes: Sequence[str] = ()) -> Page:
    """The report page of a study.

    notes  sentences about the evaluated images
    """
    findings = result.findings()
    return Page(
        title=result.title,
        kicker=result.kicker,
        summary=result.summary,
        sections=[
            *([Section("Claims", [claims_table(findings)])] if findings else []),
            Section("Results", [*result.figures(), *result.tables(), *notes]),
            result.details(),
        ],
        footer=written_by(result.environment["versions"]["mixlab"]),
    )


def _sentence(findings: Sequence[Finding]) -> str:
    if not findings:
        return "The study has no claims."
    counts = {
        verdict: sum(finding.verdict == verdict for finding in findings)
        for verdict in ("agrees", "disagrees", "undecided", "not testable at this scale")
    }
    listed = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    return f"{pluralize(len(findings), 'claim')}: {', '.join(listed)}."
