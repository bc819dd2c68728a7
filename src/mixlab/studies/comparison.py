"""What a comparison found: its numbers, its answer in words, its JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mixlab.data.dataset import Dataset
from mixlab.evaluation.metrics import confusion_matrix
from mixlab.evidence.estimate import Estimate
from mixlab.evidence.intervals import mean_interval
from mixlab.evidence.paired import crossed_interval
from mixlab.report.numbers import number
from mixlab.speed.plan import Mode, Plan
from mixlab.studies.contenders import Contender
from mixlab.studies.terms import Terms
from mixlab.studies.trainings import Trained
from mixlab.studies.verdict import Pair, Verdict

SCHEMA = 1

_BACKWARD_AND_FORWARD = 3
"""A training step costs about three forward passes: forward, gradients of the inputs, gradients of the weights."""

_HOPELESS = 50
"""Points: a comparison that would miss this difference tells nothing apart."""


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

    @cached_property
    def top1(self) -> Estimate:
        """Per cent, for other seeds and other test pictures."""
        return crossed_interval(self.correct)

    @property
    def mean_probabilities(self) -> Float[np.ndarray, "picture class"]:
        return np.mean([training.probabilities for training in self.trained], axis=0)

    @property
    def confusion(self) -> Int[np.ndarray, "class class"]:
        """Summed over the seeds."""
        classes = self.trained[0].probabilities.shape[1]
        answers = [confusion_matrix(one.labels, one.probabilities.argmax(axis=1), classes) for one in self.trained]
        return np.sum(answers, axis=0)

    @property
    def train_images_per_second(self) -> Estimate:
        return mean_interval([one.pictures / one.training_seconds for one in self.trained], "images/s", least=0)

    @property
    def training_seconds(self) -> Estimate:
        """Of one training, on the device."""
        return mean_interval([one.training_seconds for one in self.trained], "s", least=0)

    @property
    def training_macs(self) -> int:
        """Of one training: three forward passes' worth for every picture that a step saw."""
        return _BACKWARD_AND_FORWARD * self.contender.macs * self.trained[0].pictures

    @property
    def peak_bytes(self) -> int:
        return max(one.peak_bytes for one in self.trained)


@dataclass(frozen=True)
class Comparison:
    """The models in the order that the user gave, the yardsticks beside them, and the verdict."""

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
    def data(self) -> str:
        """The data's name as a title has it: a folder's without the way to it."""
        kind, _, path = self.dataset.name.partition(":")
        return Path(path).name if kind == "folder" else kind

    @property
    def taken(self) -> Contestant:
        """The model that the answer names: of those that can't be told from the best, the one that answers fastest."""
        return max((self[name] for name in self.verdict.leaders), key=lambda leader: leader.images_per_second.value)

    @property
    def closest(self) -> Pair:
        """The taken model and its rival: the best of those that it can't be told from, else the best of all others."""
        rivals = self.verdict.leaders if self.verdict.recommended is None else self.names
        return next(
            pair
            for pair in self.verdict.pairs  # best first
            if self.taken.name in (pair.a, pair.b) and {pair.a, pair.b} <= set(rivals)
        )

    @property
    def answer(self) -> str:
        """A sentence; a second one where a yardstick does as well."""
        taken = self.taken
        accuracy = f"{number(taken.top1.value, 1)} % of the test pictures right"
        if self.verdict.recommended is not None:
            answer = f"Take {taken.name}: it had {accuracy}, and its lead over every other model is more than chance."
        else:
            answer = (
                f"{listed(self.verdict.leaders)} are not told apart: take the cheapest of these, {taken.name}, which "
                f"answers {number(taken.images_per_second.value, 0)} pictures a second and had {accuracy}."
            )
        yardstick, reached = max(self.yardsticks.items(), key=lambda item: item[1].value)
        if reached.value >= taken.top1.value:
            answer += (
                f" But the yardstick {yardstick} had {number(reached.value, 1)} %: train longer before you choose."
            )
        return answer

    @property
    def detectable(self) -> str:
        """What a comparison of this size can see, in a sentence."""
        points = self.verdict.detectable
        if points >= _HOPELESS:
            return (
                f"With {self.seeds} and {self.test_pictures} hardly any difference could have been told from chance: "
                "train with 3 seeds or more."
            )
        return (
            f"Had one of a typical pair truly been {number(points, 1)} points better than the other, a comparison of "
            "this size would have noticed it 8 times in 10. Smaller differences may well stay hidden: more seeds and "
            "more test pictures bring them to light."
        )

    @property
    def seeds(self) -> str:
        return counted(self.terms.seeds, "seed")

    @property
    def test_pictures(self) -> str:
        return counted(len(self.dataset.parts["test"]), "test picture")

    @property
    def title(self) -> str:
        return f"{len(self.names)} models on {self.data}, judged on {self.test_pictures}"

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


def counted(number: int, noun: str) -> str:
    """ "1 seed", "1,200 seeds"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: Sequence[str], most: int = 5) -> str:
    """ "a, b and c"; behind the first `most` only how many more there are."""
    shown = list(names) if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} others"]
    return " and ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part)


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
    }
