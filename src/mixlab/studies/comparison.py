"""What a comparison found: its numbers, its table, its JSON."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mixlab.data.dataset import Dataset
from mixlab.evidence.estimate import Estimate
from mixlab.evidence.intervals import mean_interval
from mixlab.report.table import Column, Table
from mixlab.speed.plan import Mode, Plan
from mixlab.studies.contenders import Contender
from mixlab.studies.terms import Terms
from mixlab.studies.trainings import Trained
from mixlab.studies.verdict import Verdict

SCHEMA = 1

_BACKWARD_AND_FORWARD = 3
"""A training step costs about three forward passes: forward, gradients of the inputs, gradients of the weights."""


@dataclass(frozen=True)
class Contestant:
    """One model: all its trainings, and what they cost."""

    contender: Contender
    plan: Plan
    trained: tuple[Trained, ...]
    inference_mode: Mode
    images_per_second: Estimate

    @property
    def name(self) -> str:
        return self.contender.name

    @cached_property
    def correct(self) -> Bool[np.ndarray, "seed picture"]:
        return np.stack([training.correct for training in self.trained])

    @property
    def top1(self) -> Estimate:
        """Per cent, over the seeds."""
        return mean_interval([training.top1 for training in self.trained], "%")

    @property
    def mean_probabilities(self) -> Float[np.ndarray, "picture class"]:
        return np.mean([training.probabilities for training in self.trained], axis=0)

    @property
    def train_images_per_second(self) -> Estimate:
        return mean_interval([one.pictures / one.training_seconds for one in self.trained], "images/s")

    @property
    def training_seconds(self) -> Estimate:
        """Of one training, on the device."""
        return mean_interval([one.training_seconds for one in self.trained], "s")

    @property
    def training_macs(self) -> int:
        """Of one training: three forward passes' worth for every picture that a step saw."""
        return _BACKWARD_AND_FORWARD * self.contender.macs * self.trained[0].pictures

    @property
    def peak_bytes(self) -> int:
        return max(one.peak_bytes for one in self.trained)


@dataclass(frozen=True)
class Comparison:
    """Models, best mean first, the yardsticks beside them, and the verdict."""

    dataset: Dataset
    terms: Terms
    contestants: tuple[Contestant, ...]
    yardsticks: dict[str, Estimate]
    verdict: Verdict
    environment: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """In the user's order, which decides the colours."""
        return [contestant.name for contestant in self.contestants]

    @property
    def ranked(self) -> list[Contestant]:
        return sorted(self.contestants, key=lambda contestant: -contestant.top1.value)

    def __getitem__(self, name: str) -> Contestant:
        return self.contestants[self.names.index(name)]

    @property
    def cheapest_leader(self) -> Contestant:
        """Of the models that could not be told apart from the best, the one that answers fastest."""
        return max((self[name] for name in self.verdict.leaders), key=lambda leader: leader.images_per_second.value)

    @property
    def answer(self) -> str:
        """One sentence."""
        best = self.ranked[0]
        if self.verdict.recommended is not None:
            return (
                f"Take {best.name}: {best.top1.value:.1f} % of the test pictures right, and its lead over every other "
                "model is more than chance."
            )
        leaders = " and ".join(
            part for part in (", ".join(self.verdict.leaders[:-1]), self.verdict.leaders[-1]) if part
        )
        cheapest = self.cheapest_leader
        return (
            f"{leaders} are not told apart: take the cheapest of these, {cheapest.name}, which answers "
            f"{cheapest.images_per_second.value:,.0f} pictures a second."
        )

    def table(self) -> Table:
        columns = [
            Column("model", "model"),
            Column("top1", "top-1", "%", digits=1),
            Column("images_per_second", "inference", "images/s", digits=0, worth="interval"),
            Column("train_images_per_second", "training", "images/s", digits=0),
            Column("training_seconds", "a training", "s", digits=0),
            Column("training_macs", "a training", "TMACs", digits=1),
            Column("parameters", "parameters", "M", digits=2),
            Column("macs", "MACs", "M", digits=1),
            Column("peak", "peak memory", "MiB", digits=0),
            Column("mode", "precision, layout"),
        ]
        rows = [
            {
                "model": contestant.name,
                "top1": contestant.top1,
                "images_per_second": contestant.images_per_second,
                "train_images_per_second": contestant.train_images_per_second,
                "training_seconds": contestant.training_seconds,
                "training_macs": contestant.training_macs / 1e12,
                "parameters": contestant.contender.parameters / 1e6,
                "macs": contestant.contender.macs / 1e6,
                "peak": contestant.peak_bytes / 2**20,
                "mode": _modes(contestant),
            }
            for contestant in self.ranked
        ]
        rows += [{"model": name, "top1": estimate} for name, estimate in self.yardsticks.items()]
        return Table(self.title, columns, rows, notes=self.notes, models=self.names)

    @property
    def title(self) -> str:
        test = self.dataset.parts["test"]
        return f"{len(self.names)} models on {self.dataset.name}: {len(test)} test pictures"

    @property
    def notes(self) -> list[str]:
        return []

    def pairs_table(self) -> Table:
        columns = [
            Column("pair", "pair"),
            Column("difference", "difference", "points", digits=2, worth="interval"),
            Column("p_holm", "p (Holm)", digits=4),
            Column("verdict", ""),
        ]
        rows = [
            {
                "pair": f"{pair.a} − {pair.b}",
                "difference": pair.estimate,
                "p_holm": pair.p_holm,
                "verdict": "told apart" if pair.is_told_apart else "not told apart",
            }
            for pair in self.verdict.pairs
        ]
        return Table("All pairs", columns, rows)

    def results(self) -> dict[str, Any]:
        """results.json."""
        return {
            "schema": SCHEMA,
            "data": {
                "name": self.dataset.name,
                "fingerprint": self.dataset.fingerprint,
                "classes": list(self.dataset.classes),
                "pictures": {part: len(pictures) for part, pictures in self.dataset.parts.items()},
            },
            "budget": asdict(self.terms),
            "commit": self.environment["commit"],
            "device": self.environment["device"],
            "models": {contestant.name: _result(contestant) for contestant in self.contestants},
            "yardsticks": {name: asdict(estimate) for name, estimate in self.yardsticks.items()},
            "pairs": [
                {
                    "a": pair.a,
                    "b": pair.b,
                    "difference": pair.difference.difference,
                    "low": pair.difference.low,
                    "high": pair.difference.high,
                    "p_holm": pair.p_holm,
                }
                for pair in self.verdict.pairs
            ],
            "detectable": self.verdict.detectable,
            "recommended": self.verdict.recommended,
        }


def _modes(contestant: Contestant) -> str:
    return f"{contestant.plan.mode} (inference {contestant.inference_mode})"


def _result(contestant: Contestant) -> dict[str, Any]:
    top1 = contestant.top1
    return {
        "top1": [training.top1 for training in contestant.trained],
        "mean": top1.value,
        "sd": top1.spread,
        "n": top1.n,
        "images_per_second": contestant.images_per_second.value,
        "train_images_per_second": contestant.train_images_per_second.value,
        "training_device_seconds": contestant.training_seconds.value,
        "training_macs": contestant.training_macs,
        "parameters": contestant.contender.parameters,
        "macs": contestant.contender.macs,
        "peak_bytes": contestant.peak_bytes,
        "recipe": contestant.contender.recipe_name,
        "plan": contestant.plan.to_dict(),
    }
