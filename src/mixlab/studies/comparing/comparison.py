"""What a comparison found: its numbers, its answer in words, its JSON."""

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
from mixlab.report.words import counted
from mixlab.speed.plan import Mode, Plan
from mixlab.studies.comparing.choice import Choice, noticeable
from mixlab.studies.comparing.contenders import Contender
from mixlab.studies.comparing.terms import Terms
from mixlab.studies.comparing.trainings import Trained
from mixlab.studies.comparing.verdict import Verdict

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
        return title_of(self.dataset)

    @property
    def choice(self) -> Choice:
        return Choice(
            self.verdict,
            {one.name: one.top1 for one in self.contestants},
            {one.name: one.images_per_second for one in self.contestants},
            self.yardsticks,
            if_beaten="train longer before you choose",
        )

    @property
    def taken(self) -> Contestant:
        return self[self.choice.taken]

    @property
    def answer(self) -> str:
        return self.choice.answer

    @property
    def detectable(self) -> str:
        """What a comparison of this size can see, in a sentence."""
        points = self.verdict.detectable
        if points >= _HOPELESS:
            return (
                f"With {self.seeds} and {self.test_pictures} hardly any difference could have been told from chance: "
                "train with 3 seeds or more."
            )
        return noticeable(points, "more seeds and more test pictures")

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
            "data": described(self.dataset),
            "budget": asdict(self.terms),
            "commit": self.environment["commit"],
            "device": self.environment["device"],
            "models": {contestant.name: _result(contestant) for contestant in self.contestants},
            "yardsticks": {name: asdict(estimate) for name, estimate in self.yardsticks.items()},
            "pairs": [pair.to_dict() for pair in self.verdict.pairs],
            "detectable": self.verdict.detectable,
            "recommended": self.verdict.recommended,
        }


def title_of(dataset: Dataset) -> str:
    """The data's name as a title has it: a folder's without the way to it."""
    kind, _, path = dataset.name.partition(":")
    return Path(path).name if kind == "folder" else kind


def described(dataset: Dataset) -> dict[str, Any]:
    """The data, as results.json has it."""
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.classes),
        "pictures": {part: len(pictures) for part, pictures in dataset.parts.items()},
    }


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
