"""What every comparison has: its models, the yardsticks beside them, the verdict on all pairs, and the choice."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from mixlab.comparison.ranking import Verdict, judge
from mixlab.comparison.recommendation import Choice
from mixlab.data.dataset import Dataset
from mixlab.stats.estimate import Estimate

_SCHEMA = 1


class Judged(Protocol):
    """A model of a comparison: its answers, its top-1 in per cent of them, and how many images it answers."""

    @property
    def name(self) -> str: ...
    @property
    def correct(self) -> np.ndarray: ...
    @cached_property
    def top1(self) -> Estimate: ...
    @property
    def images_per_second(self) -> Estimate: ...


C = TypeVar("C", bound=Judged)


@dataclass(frozen=True, kw_only=True)
class Compared(Generic[C]):
    """The models in the order that the user gave."""

    if_beaten: ClassVar[str]
    """What to do where a yardstick does as well."""

    dataset: Dataset
    contestants: tuple[C, ...]
    yardsticks: dict[str, Estimate]
    environment: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """In the user's order, which decides the colours."""
        return [contestant.name for contestant in self.contestants]

    @property
    def ranked(self) -> list[C]:
        return sorted(self.contestants, key=lambda contestant: -contestant.top1.value)

    def __getitem__(self, name: str) -> C:
        return self.contestants[self.names.index(name)]

    @cached_property
    def verdict(self) -> Verdict:
        return judge({contestant.name: contestant.correct for contestant in self.contestants})

    @property
    def data(self) -> str:
        """The data's name as a title has it: a folder's without the way to it."""
        kind, _, path = self.dataset.name.partition(":")
        return Path(path).name if kind == "folder" else kind

    @property
    def choice(self) -> Choice:
        return Choice(
            self.verdict,
            {one.name: one.top1 for one in self.contestants},
            {one.name: one.images_per_second for one in self.contestants},
            self.yardsticks,
            self.if_beaten,
        )

    @property
    def taken(self) -> C:
        return self[self.choice.taken]

    @property
    def answer(self) -> str:
        return self.choice.answer

    def found(self, budget: Mapping[str, Any], models: Mapping[str, Any]) -> dict[str, Any]:
        """results.json, with what each kind of comparison says of its budget and its models."""
        return {
            "schema": _SCHEMA,
            "data": {
                "name": self.dataset.name,
                "fingerprint": self.dataset.fingerprint,
                "classes": list(self.dataset.classes),
                "images": {part: len(images) for part, images in self.dataset.parts.items()},
            },
            "budget": budget,
            "commit": self.environment["commit"],
            "device": self.environment["device"],
            "models": models,
            "yardsticks": {name: asdict(estimate) for name, estimate in self.yardsticks.items()},
            "pairs": [pair.to_dict() for pair in self.verdict.pairs],
            "detectable": self.verdict.detectable,
            "recommended": self.verdict.recommended,
        }
