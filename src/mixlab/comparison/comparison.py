"""The result of a comparison of models trained from scratch: numbers, recommendation, results.json."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mixlab.comparison.candidates import Candidate
from mixlab.comparison.compared import (
    dataset_title,
    find_model,
    rank_models,
    recommend,
    results_json,
    sort_by_score,
)
from mixlab.comparison.ranking import Ranking
from mixlab.comparison.recommendation import Recommendation, power_statement, seeds_or_images_needed
from mixlab.comparison.settings import ComparisonSettings
from mixlab.comparison.tasks.compared_task import ComparedTask
from mixlab.comparison.trainings import Trained
from mixlab.comparison.tuning import Tuning
from mixlab.data.dataset import Dataset
from mixlab.report.text import pluralize
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.stats.paired import crossed_interval
from mixlab.tasks.classification import CLASSIFICATION
from mixlab.tasks.task import Task

_FORWARD_PASSES_PER_STEP = 3
"""The cost of a training step in forward passes: the forward pass, the input gradients, the weight gradients."""

_MAX_DETECTABLE = 50
"""Percentage points: a comparison with a larger detectable difference finds hardly any difference significant."""

_MIN_SEEDS = 3
"""With fewer seeds, no model is recommended: with 2, up to 12.5 % of the simulated recommendations were wrong."""


@dataclass(frozen=True)
class ModelResult:
    """One model with all its trainings and their cost.

    trained            one training for each seed, in the order of the seeds
    inference_mode     precision and memory layout in which `images_per_second` was measured
    images_per_second  inference speed
    set_metric         the metric of the task for all test samples together; None if the task has none besides its score
    """

    candidate: Candidate
    plan: Plan
    trained: tuple[Trained, ...]
    inference_mode: ComputeMode
    images_per_second: Estimate
    set_metric: Estimate | None = None

    @property
    def name(self) -> str:
        return self.candidate.name

    @property
    def scores(self) -> Bool[np.ndarray, "seed image"] | Float[np.ndarray, "seed image"]:
        """The score of each training on each test sample, from 0 to 1."""
        return np.stack([training.scores for training in self.trained])

    @cached_property
    def mean_score(self) -> Estimate:
        """In per cent; the interval covers other seeds and other test samples."""
        return crossed_interval(self.scores)

    @property
    def train_images_per_second(self) -> Estimate:
        """Training speed of the device, with all trainings that run at the same time."""
        speeds = [self.plan.concurrent * training.images / training.training_seconds for training in self.trained]
        return mean_interval(speeds, self.images_per_second.unit, least=0)

    @property
    def training_seconds(self) -> Estimate:
        """Device time of one training: its seconds, divided by the number of trainings that run at the same time."""
        seconds = [training.training_seconds / self.plan.concurrent for training in self.trained]
        return mean_interval(seconds, "s", least=0)

    @property
    def training_macs(self) -> int:
        """MACs of one training: three forward passes for every image in every step."""
        return _FORWARD_PASSES_PER_STEP * self.candidate.macs * self.trained[0].images

    @property
    def peak_bytes(self) -> int:
        """The largest peak memory of all trainings."""
        return max(training.peak_bytes for training in self.trained)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Models that were trained from scratch under the same settings.

    compared       the task
    model_results  in the order in which the user named the models
    tunings        in the same order; empty if the settings were not tuned
    baselines      mean score in per cent of methods without a neural network, by name
    margin         in percentage points: a model that is at most this far behind the best may be recommended
    environment    the machine and the library versions, see `mixlab.measure.machine.describe`
    """

    compared: ComparedTask
    dataset: Dataset
    settings: ComparisonSettings
    model_results: tuple[ModelResult, ...]
    baselines: dict[str, Estimate]
    margin: float
    environment: dict[str, Any]
    tunings: tuple[Tuning, ...] = ()

    @property
    def task(self) -> Task:
        return self.compared.task

    @property
    def names(self) -> list[str]:
        """In the order of the user, which determines the colours."""
        return [result.name for result in self.model_results]

    @property
    def ranked(self) -> list[ModelResult]:
        """The model with the highest mean score first."""
        return sort_by_score(self.model_results)

    def __getitem__(self, name: str) -> ModelResult:
        return find_model(self.model_results, name)

    @cached_property
    def ranking(self) -> Ranking:
        return rank_models(self.model_results, margin=self.margin)

    @property
    def recommendation(self) -> Recommendation:
        return recommend(
            self.model_results,
            self.ranking,
            self.baselines,
            score=self.task.sample_score,
            noun=self.dataset.noun,
            baseline_advice=self.compared.baseline_advice,
            unsupported=self._unsupported,
            decisive=self._decisive,
        )

    @property
    def _unsupported(self) -> str:
        match self.settings.seeds:
            case 1:
                return f"With one seed, the bounds do not cover other trainings: use {_MIN_SEEDS} seeds or more."
            case seeds if seeds < _MIN_SEEDS:
                return f"With {self.seeds}, the bounds are wrong too often: use {_MIN_SEEDS} seeds or more."
            case _:
                return ""

    @property
    def _decisive(self) -> str:
        return seeds_or_images_needed(
            self.ranking.needed,
            seeds=self.settings.seeds,
            images=len(self.dataset.splits["test"]),
            margin=self.margin,
            noun=self.dataset.noun,
        )

    @property
    def chosen(self) -> ModelResult:
        """The recommended model, or else the best observed of the stable models."""
        return self[self.recommendation.chosen]

    @property
    def conclusion(self) -> str:
        """The recommendation in words."""
        return self.recommendation.conclusion

    @property
    def data(self) -> str:
        """The short name of the data set."""
        return dataset_title(self.dataset)

    @property
    def detectable(self) -> str:
        """What a comparison of this size can detect, in words."""
        points = self.ranking.detectable
        if points >= _MAX_DETECTABLE:
            remedy = (
                f"train with {_MIN_SEEDS} seeds or more"
                if self.settings.seeds < _MIN_SEEDS
                else f"use more test {self.dataset.noun}s"
            )
            return f"With {self.seeds} and {self.test_samples}, hardly any difference could be significant: {remedy}."
        return power_statement(points, f"more seeds and more test {self.dataset.noun}s")

    @property
    def seeds(self) -> str:
        """ "3 seeds"."""
        return pluralize(self.settings.seeds, "seed")

    @property
    def length(self) -> str:
        """How long each training was, in words."""
        settings, first = self.settings, self.model_results[0]
        if settings.match == "seconds":
            return f"as many seconds of training as {first.name}"
        if settings.minutes is not None:
            return f"{settings.minutes:g} minutes for the whole comparison, shared equally"
        return pluralize(first.candidate.job.recipe.epochs or 0, "epoch")

    @property
    def scaling(self) -> str:
        """ "widths scaled to the macs of mixer_nano"; "" if they are not scaled."""
        match = self.settings.match
        return f"widths scaled to the {match} of {self.names[0]}" if match in ("parameters", "macs") else ""

    @property
    def test_samples(self) -> str:
        """ "200 test images"."""
        return pluralize(len(self.dataset.splits["test"]), f"test {self.dataset.noun}")

    @property
    def title(self) -> str:
        return f"{len(self.names)} models on {self.data}, evaluated on {self.test_samples}"

    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        results = results_json(
            self.dataset,
            self.recommendation,
            self.environment,
            budget=asdict(self.settings),
            models={result.name: self._result(result) for result in self.model_results},
        )
        results["training_seconds"] = [each.training_seconds for one in self.model_results for each in one.trained]
        results["plans"] = {result.name: result.plan.to_dict() for result in self.model_results}
        if self.task is not CLASSIFICATION:
            results["task"] = self.task.name
        if self.tunings:
            results["tuning"] = {tuning.name: tuning.to_dict() for tuning in self.tunings}
        return results

    def _result(self, result: ModelResult) -> dict[str, Any]:
        score, metric = result.mean_score, self.compared.metric
        content = {
            self.task.sample_score.key: [training.mean_score for training in result.trained],
            "mean": score.value,
            "sd": score.spread,
            "n": score.n,
            "images_per_second": result.images_per_second.value,
            "train_images_per_second": result.train_images_per_second.value,
            "training_device_seconds": result.training_seconds.value,
            "training_macs": result.training_macs,
            "parameters": result.candidate.parameters,
            "macs": result.candidate.macs,
            "peak_bytes": result.peak_bytes,
        }
        if metric is not None and result.set_metric is not None:
            content[metric.key] = asdict(result.set_metric)
        return content
