"""What a comparison found: its numbers, its answer in words, its JSON."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mixlab.comparison.candidates import Candidate
from mixlab.comparison.compared import Compared
from mixlab.comparison.recommendation import power_statement
from mixlab.comparison.settings import ComparisonSettings
from mixlab.comparison.trainings import Trained
from mixlab.evaluation.metrics import confusion_matrix
from mixlab.report.text import pluralize
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.stats.paired import crossed_interval

_BACKWARD_AND_FORWARD = 3
"""A training step costs about three forward passes: forward, gradients of the inputs, gradients of the weights."""

_MAX_DETECTABLE = 50
"""Points: a comparison that would miss this difference tells nothing apart."""


@dataclass(frozen=True)
class ModelResult:
    """One model: all its trainings, and what they cost."""

    candidate: Candidate
    plan: Plan
    trained: tuple[Trained, ...]
    inference_mode: ComputeMode
    images_per_second: Estimate

    @property
    def name(self) -> str:
        return self.candidate.name

    @property
    def correct(self) -> Bool[np.ndarray, "seed image"]:
        return np.stack([training.correct for training in self.trained])

    @cached_property
    def top1(self) -> Estimate:
        """Per cent, for other seeds and other test images."""
        return crossed_interval(self.correct)

    @property
    def mean_probabilities(self) -> Float[np.ndarray, "image class"]:
        return np.mean([training.probabilities for training in self.trained], axis=0)

    @property
    def confusion(self) -> Int[np.ndarray, "class class"]:
        """Summed over the seeds."""
        classes = self.trained[0].probabilities.shape[1]
        answers = [confusion_matrix(one.labels, one.probabilities.argmax(axis=1), classes) for one in self.trained]
        return np.sum(answers, axis=0)

    @property
    def train_images_per_second(self) -> Estimate:
        return mean_interval([one.images / one.training_seconds for one in self.trained], "images/s", least=0)

    @property
    def training_seconds(self) -> Estimate:
        """Of one training, on the device."""
        return mean_interval([one.training_seconds for one in self.trained], "s", least=0)

    @property
    def training_macs(self) -> int:
        """Of one training: three forward passes' worth for every image that a step saw."""
        return _BACKWARD_AND_FORWARD * self.candidate.macs * self.trained[0].images

    @property
    def peak_bytes(self) -> int:
        return max(one.peak_bytes for one in self.trained)


@dataclass(frozen=True, kw_only=True)
class Comparison(Compared[ModelResult]):
    """Of models that were trained alike."""

    if_baseline_wins = "train longer before you choose"

    settings: ComparisonSettings

    @property
    def detectable(self) -> str:
        """What a comparison of this size can see, in a sentence."""
        points = self.ranking.detectable
        if points >= _MAX_DETECTABLE:
            return (
                f"With {self.seeds} and {self.test_images} hardly any difference could have been told from chance: "
                "train with 3 seeds or more."
            )
        return power_statement(points, "more seeds and more test images")

    @property
    def seeds(self) -> str:
        return pluralize(self.settings.seeds, "seed")

    @property
    def test_images(self) -> str:
        return pluralize(len(self.dataset.splits["test"]), "test image")

    @property
    def title(self) -> str:
        return f"{len(self.names)} models on {self.data}, judged on {self.test_images}"

    def results(self) -> dict[str, Any]:
        """results.json."""
        models = {result.name: _result(result) for result in self.model_results}
        return self.found(asdict(self.settings), models)


def _result(result: ModelResult) -> dict[str, Any]:
    top1 = result.top1
    return {
        "top1": [training.top1 for training in result.trained],
        "mean": top1.value,
        "sd": top1.spread,
        "n": top1.n,
        "images_per_second": result.images_per_second.value,
        "train_images_per_second": result.train_images_per_second.value,
        "training_device_seconds": result.training_seconds.value,
        "training_macs": result.training_macs,
        "parameters": result.candidate.parameters,
        "macs": result.candidate.macs,
        "peak_bytes": result.peak_bytes,
    }
