"""The results of studies: claims and their verdicts, and the report page.

Claims are part of the source code of a study, written before it runs. Their verdicts follow by fixed rules.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol

from mixlab.report.figure import Figure
from mixlab.report.image_panels import ImageFigure
from mixlab.report.machine import machine_facts
from mixlab.report.numbers import decimals_of_intervals, format_points
from mixlab.report.page import Code, Details, KeyValues, Page, Section, Summary, written_by
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.stats.paired import detectable_difference, holm
from mixlab.stats.paired_t import margin_p, two_sided_p
from mixlab.stats.sample_size import MAX_REPEATS, detectable_margin, repeats_needed

ALPHA = 0.05

Verdict = Literal["agrees", "disagrees", "undecided", "not testable at this scale"]

VERDICTS: tuple[Verdict, ...] = ("agrees", "disagrees", "undecided", "not testable at this scale")

SIGNS = {1: (1,), 2: (1, -1), 4: (1, -1, -1, 1)}
"""The sign of each name of a contrast, by the number of names."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim about arms, or about other quantities with a value for each repetition.

    statement  the claim as a sentence
    contrast   names: (a,) is the quantity a itself, (a, b) the difference a - b, and (a, b, c, d) the interaction
               (a - b) - (c - d)
    expected   "higher": the contrast is above 0; "lower": it is below 0; "equal": it is within `margin` of 0
    source     paper and section
    regime     how the data and models of the study differ from those of the source
    margin     for "equal", in `unit`
    testable   False if the study is too small to decide
    unit       of the contrast
    """

    statement: str
    contrast: tuple[str, ...]
    expected: Literal["higher", "lower", "equal"]
    source: str
    regime: str
    margin: float = 0.0
    testable: bool = True
    unit: str = "points"


@dataclass(frozen=True)
class Finding:
    """The result for a claim.

    difference  the contrast of the claim; None if it is not defined, such as a drop of a model at chance
    p_holm      p-value of the difference from 0, or from the nearer end of the margin for "equal", adjusted for all
                claims of the study; None for a counted contrast, which needs no test
    needed      for "undecided": the repetitions that would decide with a probability of 80 % if the observed mean and
                spread are the true ones; None if they are unknown or more than `MAX_REPEATS`
    detectable  the true difference that would be significant with a probability of 80 % at this number of repetitions
                and spread; for "equal", the margin within which a true difference of 0 would be
    """

    claim: Claim
    difference: Estimate | None
    p_holm: float | None
    needed: int | None = None
    detectable: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the result agrees with the claim, at the level `ALPHA`."""
        if self.difference is None or self.difference.low is None or not self.claim.testable:
            return "not testable at this scale"
        if self.p_holm is not None and self.p_holm >= ALPHA:
            return "undecided"
        value, margin = self.difference.value, self.claim.margin
        holds = {"higher": value > 0, "lower": value < 0, "equal": abs(value) <= margin}[self.claim.expected]
        return "agrees" if holds else "disagrees"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict}


@dataclass(frozen=True)
class Sample:
    """The values of a claim's contrast, one for each repetition, within [least, most]."""

    values: Sequence[float]
    least: float = -math.inf
    most: float = math.inf


def findings_of(claims: Sequence[Claim], samples: Sequence[Sample]) -> list[Finding]:
    """The findings for claims, with Student's t over repetitions and p-values adjusted for all claims.

    samples  for each claim, the values of its contrast; no values if it is not defined
    """
    p_values = []
    for claim, sample in zip(claims, samples, strict=True):
        equal = claim.expected == "equal"
        p = margin_p(sample.values, claim.margin) if equal else two_sided_p(sample.values)
        p_values.append(1.0 if math.isnan(p) else p)
    findings = []
    for claim, sample, p_holm in zip(claims, samples, holm(p_values) if p_values else [], strict=True):
        difference = (
            mean_interval(sample.values, claim.unit, least=sample.least, most=sample.most) if sample.values else None
        )
        finding = Finding(claim, difference, p_holm)
        if difference is not None and difference.spread:
            finding = replace(finding, detectable=_detectable(claim, difference.spread, difference.n, len(claims)))
            if finding.verdict == "undecided":
                finding = replace(finding, needed=_needed(claim, difference.value, difference.spread, len(claims)))
        findings.append(finding)
    return findings


def _detectable(claim: Claim, spread: float, repeats: int, claims: int) -> float:
    if claim.expected == "equal":
        return detectable_margin(spread, repeats, level=first_level(claim, claims))
    return detectable_difference(spread / math.sqrt(repeats), repeats - 1, claims)


def _needed(claim: Claim, mean: float, spread: float, claims: int) -> int | None:
    if claim.expected != "equal":
        return repeats_needed(mean, spread, level=first_level(claim, claims))
    if abs(mean) > claim.margin:
        return repeats_needed(abs(mean) - claim.margin, spread, level=ALPHA / claims)
    return repeats_needed(mean, spread, level=first_level(claim, claims), margin=claim.margin)


def first_level(claim: Claim, claims: int) -> float:
    """The level of the first step of Holm's method for `claims` claims, at which a single one is decided for certain.

    It is that of a two-sided test for a direction, and of each of two one-sided tests for equality.
    """
    return ALPHA / claims / (2 if claim.expected == "equal" else 1)


def counted_finding(claim: Claim, count: float) -> Finding:
    """The finding for a counted contrast, which has no uncertainty."""
    return Finding(claim, Estimate.exact(count, claim.unit), p_holm=None)


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
    def figures(self) -> Sequence[Figure | ImageFigure]: ...
    @property
    def methods(self) -> str:
        """The methods paragraph of a paper: what was measured, repetitions, tests, margins, device and versions."""
        ...

    @property
    def bibtex(self) -> str:
        """BibTeX entries of what was used."""
        ...

    def details(self) -> Section:
        """The result of `run_details`."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The content of results.json, besides what `write_result` adds for every study."""
        ...


def claims_table(findings: Sequence[Finding]) -> Table:
    """The claims with their differences and verdicts."""
    rows: list[dict[str, Cell]] = [
        {
            "statement": finding.claim.statement,
            "contrast": contrast_text(finding.claim.contrast),
            "difference": finding.difference,
            "unit": finding.claim.unit,
            "p": finding.p_holm,
            "verdict": finding.verdict,
            "detectable": finding.detectable,
            "needed": _needed_text(finding),
            "source": finding.claim.source,
        }
        for finding in findings
    ]
    units = {finding.claim.unit for finding in findings}
    common = units.pop() if len(units) == 1 else ""
    tested = any(finding.p_holm is not None for finding in findings)
    differences = (finding.difference for finding in findings if finding.difference is not None)
    digits = decimals_of_intervals(differences) if tested else 0
    columns = [
        Column("statement", "claim"),
        Column("verdict", "verdict"),
        Column("difference", "difference", common, digits=digits, uncertainty="interval"),
        *([] if common else [Column("unit", "unit")]),
        *([Column("p", "p (Holm)", digits=4)] if tested else []),
        *([replace(_DETECTABLE, digits=digits)] if any(finding.detectable for finding in findings) else []),
        *([_NEEDED] if any(map(_needed_text, findings)) else []),
        Column("contrast", "contrast"),
        Column("source", "source"),
    ]
    regimes = dict.fromkeys(f"{finding.claim.source}: {finding.claim.regime}" for finding in findings)
    margins = [
        f"Margin of {contrast_text(finding.claim.contrast)}: {margin_text(finding.claim)}."
        for finding in findings
        if finding.claim.expected == "equal" and finding.p_holm is not None
    ]
    return Table("Claims", columns, rows, [*dict.fromkeys(margins), *regimes])


_DETECTABLE = Column(
    "detectable",
    "detectable",
    note="the true difference that would be significant with a probability of 80 % with this n and spread; for a claim "
    "of equality, the margin within which a true difference of 0 would be.",
)
_NEEDED = Column(
    "needed",
    "n to decide",
    note="repetitions that would decide with a probability of 80 % if the observed mean and spread are the true ones.",
)


def margin_text(claim: Claim) -> str:
    """The margin with its unit: "1 point", "5 %"."""
    return format_points(claim.margin) if claim.unit == "points" else f"{claim.margin:g} {claim.unit}"


def contrast_text(contrast: Sequence[str]) -> str:
    """A contrast as a formula."""
    differences = [" − ".join(contrast[place : place + 2]) for place in range(0, len(contrast), 2)]
    return " − ".join(f"({text})" for text in differences) if len(differences) > 1 else differences[0]


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


def run_details(
    result: StudyResult, facts: Mapping[str, str] = MappingProxyType({}), recipes: Sequence[Details] = ()
) -> Section:
    """The methods paragraph and BibTeX, facts of the study and of the machine, and the recipes of the trainings."""
    references = Details("BibTeX", [Code(result.bibtex)])
    shown = KeyValues({**facts, **machine_facts(result.environment)})
    return Section("Run details", [result.methods, references, shown, *recipes])


def verdicts_sentence(findings: Sequence[Finding]) -> str:
    """How many claims have which verdict."""
    if not findings:
        return "The study has no claims."
    counts = verdict_counts([finding.verdict for finding in findings])
    return f"{pluralize(len(findings), 'claim')}: {counts}."


def verdict_counts(verdicts: Sequence[Verdict]) -> str:
    """The verdicts with their numbers: "3 agree, 1 disagrees, 2 undecided"."""
    counts = {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}
    plurals = {"agrees": "agree", "disagrees": "disagree"}
    return ", ".join(
        f"{count} {verdict if count == 1 else plurals.get(verdict, verdict)}" for verdict, count in counts.items()
    )


def _needed_text(finding: Finding) -> str | None:
    """None if no number of repetitions would decide, as with a test that does not repeat anything."""
    if finding.verdict != "undecided" or finding.difference is None or not finding.difference.spread:
        return None
    return repetitions_text(finding.needed)


def repetitions_text(needed: int | None) -> str:
    """A result of `repeats_needed` in a table."""
    return f"more than {MAX_REPEATS:,}" if needed is None else f"{needed:,}"
