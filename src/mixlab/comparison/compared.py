"""What every comparison has: its models, the yardsticks beside them, the verdict on all pairs, and the choice."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from mixlab.comparison.ranking import Ranking, rank
from mixlab.comparison.recommendation import Recommendation
from mixlab.data.dataset import Dataset
from mixlab.stats.estimate import Estimate

_SCHEMA = 1


class Evaluated(Protocol):
    """A model of a comparison: its answers, its top-1 in per cent of them, and how many images it answers."""

    @property
    def name(self) -> str: ...
    @property
    def correct(self) -> np.ndarray: ...
    @cached_property
    def top1(self) -> Estimate: ...
    @property
    def images_per_second(self) -> Estimate: ...


C = TypeVar("C", bound=Evaluated)


@dataclass(frozen=True, kw_only=True)
class Compared(Generic[C]):
    """The models in the order that the user gave."""

    if_baseline_wins: ClassVar[str]
    """What to do where a yardstick does as well."""

    dataset: Dataset
    model_results: tuple[C, ...]
    baselines: dict[str, Estimate]
    environment: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """In the user's order, which decides the colours."""
        return [result.name for result in self.model_results]

    @property
    def ranked(self) -> list[C]:
        return sorted(self.model_results, key=lambda result: -result.top1.value)

    def __getitem__(self, name: str) -> C:
        return self.model_results[self.names.index(name)]

    @cached_property
    def ranking(self) -> Ranking:
        return rank({result.name: result.correct for result in self.model_results})

    @property
    def data(self) -> str:
        """The data's name as a title has it: a folder's without the way to it."""
        kind, _, path = self.dataset.name.partition(":")
        return Path(path).name if kind == "folder" else kind

    @property
    def recommendation(self) -> Recommendation:
        return Recommendation(
            self.ranking,
            {one.name: one.top1 for one in self.model_results},
            {one.name: one.images_per_second for one in self.model_results},
            self.baselines,
            self.if_baseline_wins,
        )

    @property
    def chosen(self) -> C:
        return self[self.recommendation.chosen]

    @property
    def answer(self) -> str:
        return self.recommendation.answer

    def found(self, budget: Mapping[str, Any], models: Mapping[str, Any]) -> dict[str, Any]:
        """results.json, with what each kind of comparison says of its budget and its models."""
        return {
            "schema": _SCHEMA,
            "data": {
                "name": self.dataset.name,
                "fingerprint": self.dataset.fingerprint,
                "classes": list(self.dataset.classes),
                "images": {split: len(images) for split, images in self.dataset.splits.items()},
            },
            "budget": budget,
            "commit": self.environment["commit"],
            "device": self.environment["device"],
            "models": models,
            "yardsticks": {name: asdict(estimate) for name, estimate in self.baselines.items()},
            "pairs": [pair.to_dict() for pair in self.ranking.pairs],
            "detectable": self.ranking.detectable,
            "recommended": self.ranking.recommended,
        }
