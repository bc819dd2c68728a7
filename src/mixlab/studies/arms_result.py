"""The result of a study that trains arms: scores, quantities derived from them, findings, tables, figures and JSON."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import tomli_w

from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.forest_plot import forest_plot
from mixlab.report.page import Code, Details, Section, Summary
from mixlab.report.references import bibtex
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import number_range, pluralize
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.studies.methods import tests_paragraph, tests_references
from mixlab.studies.result import SIGNS, Claim, Finding, Sample, findings_of, run_details, verdicts_sentence

_DIGITS = 9
"""Decimals of derived values, so that equal values do not differ by a rounding error, which would be their spread."""

MIN_REPEATS = 3
"""With fewer repetitions, a note says that the intervals are unreliable."""


@dataclass(frozen=True)
class Arm:
    """One way to train a model, repeated several times. Repetition i of every arm has the same seed and images.

    scores   top-1 in per cent of each repetition, or another metric of the study
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
        return contrast_values([self.scores, other.scores])

    def difference(self, other: "Arm") -> Estimate:
        """The mean difference in percentage points, with an interval."""
        return mean_interval(self.minus(other), "points", least=-100, most=100)


@dataclass(frozen=True)
class Quantity:
    """A quantity that is derived from the scores of arms, with one value for each repetition; () if it is undefined.

    name         as in the contrasts of claims; no arm has this name
    values       in `unit`
    least, most  bounds of its values
    """

    name: str
    values: tuple[float, ...]
    unit: str = "points"
    least: float = -math.inf
    most: float = math.inf

    @property
    def estimate(self) -> Estimate | None:
        """The mean with an interval."""
        if not self.values:
            return None
        return mean_interval(self.values, self.unit, least=self.least, most=self.most)


def relative_drop(name: str, original: Arm, changed: Arm, chance: float) -> Quantity:
    """How much of its accuracy above chance a model loses: 100 (original - changed) / (original - chance), in per cent.

    chance  the accuracy of a constant prediction, in per cent

    Undefined if a score of `original` is not above chance.
    """
    pairs = list(zip(original.scores, changed.scores, strict=False))
    if any(before <= chance for before, _ in pairs):
        return Quantity(name, (), "%")
    drops = (100 * (before - after) / (before - chance) for before, after in pairs)
    return Quantity(name, tuple(round(drop, _DIGITS) for drop in drops), "%")


def contrast_values(values: Sequence[Sequence[float]]) -> list[float]:
    """The contrast of one, two or four quantities for each repetition that all of them have (see `Claim`)."""
    repeats = min(map(len, values))
    signs = np.array(SIGNS[len(values)])
    if not repeats:
        return []
    return (signs @ np.array([of_one[:repeats] for of_one in values], dtype=float)).round(_DIGITS).tolist()


@dataclass(frozen=True, kw_only=True)
class ArmsResult:
    """The result of a study that compares arms: a StudyResult.

    quantities       derived from the scores, for the contrasts of claims
    repeats          what differs between the repetitions of an arm, in the plural: "seeds"
    top1_interval    what the intervals of top-1 are over
    columns          columns of the table of arms, in addition to name and top-1
    pairs            pairs of arms (a, b) in the table of differences
    own_tables       tables before that of the arms
    own_figures      figures in place of the top-1 of each arm
    facts            additional facts of the run details
    metric           the key and the title of the scores, in per cent
    protocol         sentences of the methods paragraph about the trainings
    references       keys of `mixlab.report.references`
    training_seconds  the duration of the steps of every training, also of arms that are not in `arms`
    """

    title: str
    command: str
    data: str
    settings: Any
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]
    environment: Mapping[str, Any]
    quantities: tuple[Quantity, ...] = ()
    repeats: str = "seeds"
    top1_interval: str = "seeds"
    pairs: tuple[tuple[str, ...], ...] = ()
    columns: tuple[Column, ...] = ()
    notes: tuple[str, ...] = ()
    own_tables: tuple[Table, ...] = ()
    own_figures: tuple[Figure, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    protocol: str = ""
    references: tuple[str, ...] = ()
    metric: tuple[str, str] = ("top1", "top-1")
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    plans: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    training_seconds: tuple[float, ...] = ()

    @property
    def kicker(self) -> str:
        return f"{self.command}: {self.data}, {self._number_of_repeats}"

    @property
    def summary(self) -> Summary:
        rule = "Claims were fixed before the study ran, and verdicts follow by rule."
        return Summary(verdicts_sentence(self.findings()), rule)

    def __getitem__(self, name: str) -> Arm:
        (arm,) = (arm for arm in self.arms if arm.name == name)
        return arm

    def findings(self) -> list[Finding]:
        return findings_of(self.claims, [self._sample(claim) for claim in self.claims])

    def tables(self) -> list[Table]:
        key, title = self.metric
        rows: list[dict[str, Cell]] = [{"name": arm.name, **arm.columns, key: arm.top1} for arm in self.arms]
        columns = [Column("name", "arm"), *self.columns, Column(key, title, "%", digits=1)]
        spread = f"± is the standard deviation over {self.repeats}."
        notes = [spread, *self._too_few(arm.top1 for arm in self.arms), *self.notes]
        arms = Table(f"Arms on {self.data}", columns, rows, notes)
        return [
            *self.own_tables,
            arms,
            *([self._quantities()] if self.quantities else []),
            *([self._differences()] if self.pairs else []),
        ]

    def figures(self) -> list[Figure]:
        if self.own_figures:
            return list(self.own_figures)
        caption = f"Points are means over {self.repeats}, lines 95 % intervals over {self.top1_interval}."
        top1 = {arm.name: arm.top1 for arm in self.arms}
        title = "Top-1" if self.metric[0] == "top1" else self.metric[1]
        return [forest_plot(f"{title} of each arm", top1, Axis(title, "%", "higher", digits=1), caption=caption)]

    @property
    def methods(self) -> str:
        tests = tests_paragraph(self.findings(), self.repeats, self.top1_interval, self.environment)
        return f"{self.protocol} {tests}".strip()

    @property
    def bibtex(self) -> str:
        return bibtex([*self.references, *tests_references(self.findings())])

    def details(self) -> Section:
        modes = {name: f"{plan['precision']}, {plan['layout']}" for name, plan in self.plans.items()}
        if len(modes) > 1 and len(set(modes.values())) == 1:
            modes = {"all trainings": next(iter(modes.values()))}
        plans = {f"Plan of {name}": mode for name, mode in modes.items()}
        recipes = [
            Details(f"Recipe of {name}", [Code(tomli_w.dumps(dict(recipe)))]) for name, recipe in self.recipes.items()
        ]
        return run_details(self, {**self.facts, **plans}, recipes)

    def to_dict(self) -> dict[str, Any]:
        pairs = [*self.pairs, *(claim.contrast for claim in self.claims)]
        names = {arm.name for arm in self.arms}
        pairs_of_arms = [pair for pair in dict.fromkeys(pairs) if len(pair) == 2 and names.issuperset(pair)]
        return {
            "command": self.command,
            "data": self.data,
            "settings": asdict(self.settings),
            "recipes": {name: dict(recipe) for name, recipe in self.recipes.items()},
            "plans": {name: dict(plan) for name, plan in self.plans.items()},
            "training_seconds": list(self.training_seconds),
            "arms": [
                {"name": arm.name, "scores": list(arm.scores), self.metric[0]: asdict(arm.top1), **arm.details}
                for arm in self.arms
            ],
            "quantities": [{"name": one.name, "unit": one.unit, "values": list(one.values)} for one in self.quantities],
            "pairs": [{"a": a, "b": b, **asdict(self[a].difference(self[b]))} for a, b in pairs_of_arms],
        }

    @property
    def _number_of_repeats(self) -> str:
        numbers = [len(arm.scores) for arm in self.arms]
        noun = self.repeats.removesuffix("s") if max(numbers) == 1 else self.repeats
        return f"{number_range(numbers)} {noun}"

    def _sample(self, claim: Claim) -> Sample:
        """The values of the contrast of a claim, and their bounds."""
        values, bounds = [], []
        for name in claim.contrast:
            (found,) = (one for one in (*self.arms, *self.quantities) if one.name == name)
            values.append(found.scores if isinstance(found, Arm) else found.values)
            bounds.append((0.0, 100.0) if isinstance(found, Arm) else (found.least, found.most))
        signs = SIGNS[len(bounds)]
        ends = [(low, high) if sign > 0 else (-high, -low) for sign, (low, high) in zip(signs, bounds, strict=True)]
        return Sample(contrast_values(values), sum(low for low, _ in ends), sum(high for _, high in ends))

    def _too_few(self, estimates: Iterable[Estimate]) -> list[str]:
        """Notes if there are too few repetitions for an interval, or for a reliable one."""
        estimates = list(estimates)
        notes = []
        if (fewest := min(estimate.n for estimate in estimates)) < MIN_REPEATS:
            repeats = pluralize(fewest, self.repeats.removesuffix("s"))
            notes.append(f"With {repeats}, the intervals are unreliable: give --seeds {MIN_REPEATS} or more.")
        if without := [estimate for estimate in estimates if estimate.low is None]:
            repeats = pluralize(without[0].n, self.repeats.removesuffix("s"))
            notes.append(f"Without interval: all {repeats} have the same value, so they are too few to estimate one.")
        return notes

    def _quantities(self) -> Table:
        rows: list[dict[str, Cell]] = [
            {"name": quantity.name, "value": quantity.estimate, "unit": quantity.unit} for quantity in self.quantities
        ]
        columns = [
            Column("name", "quantity"),
            Column("value", "mean", digits=1, uncertainty="interval"),
            Column("unit", "unit"),
        ]
        note = f"95 % intervals over {self.repeats}, not adjusted for multiple comparisons; the claims are adjusted."
        return Table("Derived quantities", columns, rows, [note])

    def _differences(self) -> Table:
        differences = [(a, b, self[a].difference(self[b])) for a, b in self.pairs]
        rows: list[dict[str, Cell]] = [{"a": a, "b": b, "difference": difference} for a, b, difference in differences]
        columns = [Column("a", "arm"), Column("b", "minus")]
        columns.append(Column("difference", "difference", "points", digits=2, uncertainty="interval"))
        note = f"95 % intervals over {self.repeats}, not adjusted for multiple comparisons; the claims are adjusted."
        return Table("Differences", columns, rows, [note, *self._too_few(difference for *_, difference in differences)])
