"""What a study of several ways to a model found: each on its own, and pair by pair."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import tomli_w

from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.forest_plot import forest_plot
from mixlab.report.machine import machine_facts
from mixlab.report.page import Code, Details, KeyValues, Page, Section, Summary, written_by
from mixlab.report.table import Column, Table
from mixlab.speed.plan import Plan
from mixlab.stats.estimate import Estimate
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.recipes.schema import Recipe

_SCHEMA = 1


class StudyArm(Protocol):
    """One way to a model, trained several times."""

    @property
    def name(self) -> str: ...
    @property
    def top1(self) -> Estimate: ...
    def against(self, other: Self) -> Estimate:
        """The difference in points, pair by pair of trainings."""
        ...

    def result(self) -> dict[str, Any]:
        """Its part of results.json."""
        ...


A = TypeVar("A", bound=StudyArm)


@dataclass(frozen=True, kw_only=True)
class Study(ABC, Generic[A]):
    repeats: ClassVar[str]
    """What differs between the trainings of one arm, in the plural: over these are the intervals of differences."""
    top1_is_over: ClassVar[str]
    """What the intervals of top-1 are over."""

    data: str
    images: int  # trained on at first
    settings: Any  # a dataclass of the study's own
    arms: tuple[A, ...]
    environment: Mapping[str, Any]
    recipes: Mapping[str, Recipe | LinearProbeRecipe]
    plans: Mapping[str, Plan]

    @property
    @abstractmethod
    def pairs(self) -> list[tuple[A, A]]:
        """What the study asks."""

    @abstractmethod
    def table(self) -> Table:
        """Every arm."""

    @abstractmethod
    def page(self) -> Page:
        """The whole report."""

    def __getitem__(self, name: str) -> A:
        (found,) = (arm for arm in self.arms if arm.name == name)
        return found

    def differences(self) -> Table:
        rows = [{"a": a.name, "b": b.name, "difference": a.against(b)} for a, b in self.pairs]
        columns = [
            Column("a", "way"),
            Column("b", "against"),
            Column("difference", "by", "points", digits=2, uncertainty="interval"),
        ]
        note = f"Each interval stands for itself, at 95 %, over the {self.repeats}."
        return Table("Pair by pair", columns, rows, notes=[note])

    def figure(self) -> Figure:
        return forest_plot(
            "Top-1 of each way",
            {arm.name: arm.top1 for arm in self.arms},
            Axis("Top-1", "%", "higher", digits=1),
            caption=f"Points are means over the {self.repeats}, lines 95 % intervals over {self.top1_is_over}.",
        )

    def results(self) -> dict[str, Any]:
        """results.json."""
        return {
            "schema": _SCHEMA,
            "data": self.data,
            "images": self.images,
            "terms": asdict(self.settings),
            "environment": dict(self.environment),
            "recipes": {name: recipe.to_dict() for name, recipe in self.recipes.items()},
            "plans": {name: plan.to_dict() for name, plan in self.plans.items()},
            "arms": [arm.result() | {"top1": asdict(arm.top1)} for arm in self.arms],
            "pairs": [{"a": a.name, "b": b.name, **asdict(a.against(b))} for a, b in self.pairs],
        }

    def _page(self, title: str, kicker: str, answer: Summary, facts: Mapping[str, str]) -> Page:
        """With the study's question and answer; `facts` are its own of what ran."""
        return Page(
            title=title,
            kicker=kicker,
            answer=answer,
            sections=[
                Section("Every way", [self.table(), self.figure()]),
                Section("Pair by pair", [self.differences()]),
                self._run_details(facts),
            ],
            footer=written_by(self.environment["versions"]["mixlab"]),
        )

    def _run_details(self, facts: Mapping[str, str]) -> Section:
        plans = {f"Plan of {name}": str(plan.mode) for name, plan in self.plans.items()}
        recipes = [
            Details(f"The recipe of {name}", [Code(tomli_w.dumps(recipe.to_dict()))])
            for name, recipe in self.recipes.items()
        ]
        return Section("What ran", [KeyValues({**facts, **plans, **machine_facts(self.environment)}), *recipes])
