"""The result of the study of cost: what is linear, and what is quadratic in the number of patches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from math import log
from typing import Any, Literal

from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.lines import SIDE_BY_SIDE, LineLegend, line_panel
from mixlab.report.machine import software_sentence
from mixlab.report.page import Section, Summary
from mixlab.report.references import bibtex
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import join_words, pluralize
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import median_interval
from mixlab.stats.polynomial import exact_quadratic, fitted_quadratic
from mixlab.studies.methods import tests_references, tests_sentences
from mixlab.studies.result import Claim, Finding, Sample, findings_of, run_details

MORE_PATCHES, FIXED_PATCHES = "more patches", "larger patches"
WIDENED = "(D_S widened)"

Terms = tuple[Fraction, Fraction, Fraction]


def attention_claim(attention: str, mixer: str) -> Claim:
    """The claim about the time of a ViT and of a Mixer with a fixed hidden width of its token MLPs."""
    return Claim(
        statement=f"More of the time is quadratic in the number of patches for {attention} than for {mixer}.",
        contrast=(f"quadratic share of {attention}", f"quadratic share of {mixer}"),
        expected="higher",
        source="Tolstikhin et al. 2021, section 2",
        regime="the source counts operations; this study times small models at few patches on this machine",
    )


@dataclass(frozen=True, kw_only=True)
class Point:
    """A model at one size.

    series                name of the model, with a suffix if its config grows with the number of patches
    family                as in `Architecture`
    sweep                 what grows: the number of patches of the same size, or the size of the same number of patches
    side                  height of the image in pixels
    patches               number of patches after the stem
    macs, parameters      of the forward pass of one image, and of the model
    memory_bytes          peak of what the forward pass of one image takes, without the weights and the image
    unfused_memory_bytes  the same with unfused attention, which holds all scores
    milliseconds          for one image, in each round
    """

    series: str
    family: str
    sweep: str
    side: int
    patches: int
    macs: int
    parameters: int
    memory_bytes: int
    unfused_memory_bytes: int
    milliseconds: tuple[float, ...]

    @property
    def time(self) -> Estimate:
        return median_interval(self.milliseconds, "ms")


@dataclass(frozen=True, kw_only=True)
class CostResult:
    """Counted and measured cost: a StudyResult.

    references  keys of `mixlab.report.references`, of the models
    """

    settings: Mapping[str, Any]
    points: tuple[Point, ...]
    notes: tuple[str, ...]
    references: tuple[str, ...]
    environment: Mapping[str, Any]

    @property
    def title(self) -> str:
        return "How does the cost of a model grow with the number of patches?"

    @property
    def kicker(self) -> str:
        return f"mixlab study cost: {', '.join(self.settings['models'])}"

    @property
    def summary(self) -> Summary:
        terms = self.macs_terms()
        linear = [name for name, found in terms.items() if found is not None and found[2] == 0]
        quadratic = [name for name, found in terms.items() if found is not None and found[2] != 0]
        parts = [
            f"exactly linear in the number of patches for {join_words(linear)}" if linear else "",
            f"quadratic for {join_words(quadratic)}" if quadratic else "",
        ]
        return Summary(
            f"The multiply-accumulates are {', and '.join(part for part in parts if part)}.",
            "Multiply-accumulates are counted, so that this statement has no uncertainty. Times are measured.",
        )

    def series(self, sweep: str) -> dict[str, list[Point]]:
        """The points of each series, from small to large."""
        found: dict[str, list[Point]] = {}
        for point in self.points:
            if point.sweep == sweep:
                found.setdefault(point.series, []).append(point)
        return found

    @cached_property
    def _grown(self) -> dict[str, list[Point]]:
        return self.series(MORE_PATCHES)

    def macs_terms(self) -> dict[str, Terms | None]:
        """Constant, linear and quadratic terms of the MACs, by series with more patches; None if they have others."""
        return {
            name: exact_quadratic([(point.patches, point.macs) for point in line]) for name, line in self._grown.items()
        }

    def quadratic_share(self, series: str) -> list[float]:
        """The share of the quadratic term in the time at the most patches, in per cent, of a fit to each round."""
        line = self._grown[series]
        patches = [point.patches for point in line]
        shares = []
        for times in zip(*(point.milliseconds for point in line), strict=True):
            terms = fitted_quadratic(patches, times)
            values = [term * patches[-1] ** power for power, term in enumerate(terms)]
            shares.append(100 * values[2] / sum(values))
        return shares

    def findings(self) -> list[Finding]:
        quadratic = [name for name, terms in self.macs_terms().items() if terms is not None and terms[2] != 0]
        attention = [name for name in quadratic if self._grown[name][0].family == "timm"]
        mixers = [name for name, line in self._grown.items() if line[0].family == "mixer" and WIDENED not in name]
        pairs = [(a, b) for a in attention for b in mixers]
        samples = [
            Sample([x - y for x, y in zip(self.quadratic_share(a), self.quadratic_share(b), strict=True)])
            for a, b in pairs
        ]
        return findings_of([attention_claim(a, b) for a, b in pairs], samples)

    def tables(self) -> list[Table]:
        return [self._terms(), *(self._costs(sweep) for sweep in (MORE_PATCHES, FIXED_PATCHES) if self.series(sweep))]

    def _terms(self) -> Table:
        rows: list[dict[str, Cell]] = []
        for name, line in self._grown.items():
            first, last = line[-2:]
            row: dict[str, Cell] = {
                "series": name,
                "growth": log(last.macs / first.macs) / log(last.patches / first.patches),
                "time_growth": log(last.time.value / first.time.value) / log(last.patches / first.patches),
                "time_share": median_interval(self.quadratic_share(name), "%"),
            }
            if (terms := self.macs_terms()[name]) is not None:
                constant, linear, quadratic = terms
                row |= {
                    "constant": float(constant),
                    "linear": float(linear),
                    "quadratic": float(quadratic),
                    "share": 100 * float(quadratic * last.patches**2 / last.macs),
                }
            rows.append(row)
        columns = [
            Column("series", "model"),
            Column("constant", "MACs, constant", digits=0),
            Column("linear", "MACs per patch", digits=0),
            Column("quadratic", "MACs per patch²", digits=0),
            Column("share", "quadratic share of MACs", "%", digits=1),
            Column("time_share", "quadratic share of time", "%", digits=1, uncertainty="interval"),
            Column("growth", "exponent of MACs", digits=2),
            Column("time_growth", "exponent of time", digits=2),
        ]
        notes = [
            "The terms of the MACs are exact: one polynomial goes through all sizes. A dash means that none does, for "
            "example because windows need padding.",
            "Shares are of the cost at the most patches. That of the time is of a least-squares fit to each round; "
            "noise can make it negative. Time that grows faster than the multiply-accumulates, for example where "
            "tensors no longer fit into a cache, counts as quadratic.",
            "Exponents are between the two largest sizes: 1 is linear, 2 quadratic.",
            *self.notes,
        ]
        return Table("Linear and quadratic terms", columns, rows, notes, models=list(self._grown))

    def _costs(self, sweep: str) -> Table:
        rows: list[dict[str, Cell]] = [
            {
                "series": point.series,
                "side": point.side,
                "patches": point.patches,
                "macs": point.macs / 1e6,
                "parameters": point.parameters / 1e3,
                "time": point.time,
                "memory": point.memory_bytes / 1e6,
                "unfused_memory": point.unfused_memory_bytes / 1e6,
            }
            for line in self.series(sweep).values()
            for point in line
        ]
        columns = [
            Column("series", "model"),
            Column("side", "image", "px"),
            Column("patches", "patches"),
            Column("macs", "MACs", "M", digits=1),
            Column("parameters", "parameters", "k", digits=1),
            Column("time", "time of an image", "ms", digits=3, uncertainty="interval"),
            Column("memory", "memory of an image", "MB", digits=2),
            Column("unfused_memory", "memory, unfused attention", "MB", digits=2),
        ]
        titles = {MORE_PATCHES: "More patches of the same size", FIXED_PATCHES: "Larger patches in the same number"}
        note = (
            f"Times are of a batch of {self.settings['batch']} divided by its size, in eager fp32: medians of "
            f"{self.settings['rounds']} rounds. Memory is the measured peak of what the forward pass of one image "
            "takes from PyTorch's allocator, also inside operators, without the weights and the image. Fused "
            "attention, which PyTorch selects where it can, works in blocks of the scores; unfused attention holds "
            "all of them."
        )
        return Table(titles[sweep], columns, rows, [note])

    def figures(self) -> list[Figure]:
        names = sorted(self._grown, key=lambda name: WIDENED in name)  # models have their colours of other studies
        figures = [_figure("More patches of the same size", self._grown, "patches", Axis("Patches", digits=0), names)]
        if fixed := self.series(FIXED_PATCHES):
            side = Axis("Image height", "px", digits=0)
            figures.append(_figure("Larger patches in the same number", fixed, "side", side, names))
        return figures

    @property
    def methods(self) -> str:
        sizes = max(map(len, self._grown.values()))
        rounds = self.settings["rounds"]
        sentences = [
            f"{join_words(list(self._grown), most=9)} with random weights were compared at {sizes} image sizes, with "
            "more and more patches of the same size and, where the patch size can change, with larger patches in the "
            "same number. Multiply-accumulates and parameters were counted and are exact; the terms of the "
            "multiply-accumulates are those of the polynomial through all sizes.",
            f"Forward passes of {pluralize(self.settings['batch'], 'image')} in eager fp32 were timed in {rounds} "
            "rounds, in which all models take turns. Times are medians of the rounds"
            + (", with 95 % intervals of order statistics." if self.points[0].time.low is not None else "."),
            "The memory of a forward pass of one image is the measured peak of what it takes from PyTorch's allocator, "
            "without the weights and the image, with the attention that PyTorch selects and with unfused attention.",
            "The quadratic share of the time is that of a least-squares fit to each round; repetitions are rounds.",
        ]
        return " ".join([*sentences, *tests_sentences(self.findings()), software_sentence(self.environment)])

    @property
    def bibtex(self) -> str:
        order_statistics = ["thompson"] if self.points[0].time.low is not None else []
        findings = self.findings()
        return bibtex([*self.references, *order_statistics, *(tests_references(findings) if findings else [])])

    def details(self) -> Section:
        return run_details(self)

    def to_dict(self) -> dict[str, Any]:
        return {
            "settings": dict(self.settings),
            "points": [asdict(point) for point in self.points],
            "quadratic_share_of_time": {name: self.quadratic_share(name) for name in self._grown},
        }


_CLOSE = 0.05


@dataclass(frozen=True)
class _Quantity:
    """What a panel shows. `name` is for sentences."""

    name: str
    axis: Axis
    of: Callable[[Point], Estimate]


_COUNTED = (
    _Quantity(
        "multiply-accumulates",
        Axis("MACs of an image", "M"),
        lambda point: Estimate.exact(point.macs / 1e6, "M"),
    ),
    _Quantity("parameters", Axis("Parameters", ""), lambda point: Estimate.exact(point.parameters, "")),
)
_MEASURED = (
    _Quantity("time", Axis("Time of an image", "ms"), lambda point: point.time),
    _Quantity(
        "memory",
        Axis("Memory of an image", "MB"),
        lambda point: Estimate.exact(point.memory_bytes / 1e6, "MB"),
    ),
    _Quantity(
        "memory with unfused attention",
        Axis("Memory, unfused attention", "MB"),
        lambda point: Estimate.exact(point.unfused_memory_bytes / 1e6, "MB"),
    ),
)


def _figure(
    title: str,
    lines: Mapping[str, Sequence[Point]],
    key: Literal["patches", "side"],
    x: Axis,
    names: Sequence[str],
) -> Figure:
    panels = []
    for quantity in (*_COUNTED, *_MEASURED):
        shown = {name: [(getattr(point, key), quantity.of(point)) for point in line] for name, line in lines.items()}
        points = [point for line in shown.values() for point in line]
        across = x.logarithmic_over_a_decade(value for value, _ in points)
        up = quantity.axis.logarithmic_over_a_decade(estimate.value for _, estimate in points)
        panels.append(line_panel(shown, across, up, names=names))
    counted, measured = (join_words([one.name for one in group]) for group in (_COUNTED, _MEASURED))
    caption = [f"{counted.capitalize()} are counted; {measured} are measured.", SIDE_BY_SIDE, *_coinciding(lines)]
    return Figure(title, panels, " ".join(caption), LineLegend(list(lines), names))


def _coinciding(lines: Mapping[str, Sequence[Point]]) -> list[str]:
    """A sentence that names the lines that are drawn on each other, if there are any."""
    found = []
    for quantity in (*_COUNTED, *_MEASURED):
        remaining = list(lines)
        while remaining:
            first, *others = remaining
            alike = [name for name in others if _is_close(lines[first], lines[name], quantity.of)]
            if alike:
                found.append(f"{quantity.name} of {join_words([first, *alike])}")
            remaining = [name for name in others if name not in alike]
    return [f"Lines that differ by at most {100 * _CLOSE:g} %: {'; '.join(found)}."] if found else []


def _is_close(a: Sequence[Point], b: Sequence[Point], of: Callable[[Point], Estimate]) -> bool:
    return [one.side for one in a] == [other.side for other in b] and all(
        abs(of(one).value - of(other).value) <= _CLOSE * of(one).value for one, other in zip(a, b, strict=True)
    )
