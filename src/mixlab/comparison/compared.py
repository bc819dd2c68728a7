"""Functions that both kinds of comparison share: of models trained from scratch, and of published weights."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from mixlab.comparison.ranking import Ranking, rank
from mixlab.comparison.recommendation import Recommendation
from mixlab.data.dataset import Dataset
from mixlab.data.name_groups import split_group_option
from mixlab.stats.estimate import Estimate
from mixlab.tasks.task import SampleScore

_SCHEMA = 1


class EvaluatedModel(Protocol):
    """One model of a comparison, after its evaluation.

    scores             (seed, image) or (seed, group), from 0 to 1; see `rank`
    mean_score         in per cent, over seeds and images
    images_per_second  inference speed
    """

    @property
    def name(self) -> str: ...
    @property
    def scores(self) -> np.ndarray: ...
    @cached_property
    def mean_score(self) -> Estimate: ...
    @property
    def images_per_second(self) -> Estimate: ...


class AnyComparison(Protocol):
    """What the report pages and tables read from a comparison of either kind."""

    @property
    def names(self) -> list[str]: ...
    @property
    def ranked(self) -> Sequence[EvaluatedModel]: ...
    @cached_property
    def ranking(self) -> Ranking: ...
    @property
    def recommendation(self) -> Recommendation: ...
    @property
    def detectable(self) -> str: ...


M = TypeVar("M", bound=EvaluatedModel)


def sort_by_score(models: Iterable[M]) -> list[M]:
    """The model with the highest mean score first."""
    return sorted(models, key=lambda model: -model.mean_score.value)


def find_model(models: Iterable[M], name: str) -> M:
    """Raises KeyError if no model has this name."""
    for model in models:
        if model.name == name:
            return model
    raise KeyError(name)


def rank_models(models: Iterable[EvaluatedModel], *, margin: float, image_variance_factor: float = 1.0) -> Ranking:
    """See `rank`."""
    scores = {model.name: model.scores for model in models}
    return rank(scores, margin=margin, image_variance_factor=image_variance_factor)


def recommend(
    models: Sequence[EvaluatedModel],
    ranking: Ranking,
    baselines: Mapping[str, Estimate],
    *,
    score: SampleScore,
    noun: str,
    baseline_advice: str,
    unsupported: str,
    decisive: str,
) -> Recommendation:
    """For the keyword arguments, see `Recommendation`."""
    return Recommendation(
        score,
        noun,
        ranking,
        {model.name: model.mean_score for model in models},
        {model.name: model.images_per_second for model in models},
        baselines,
        baseline_advice,
        unsupported,
        decisive,
    )


def dataset_title(dataset: Dataset) -> str:
    """The short name of a data set for titles: the last component of a path, or the kind of data."""
    kind, _, path = split_group_option(dataset.name)[0].partition(":")
    return Path(path).name if kind in ("csv", "folder", "masks", "text") else kind


def results_json(
    dataset: Dataset,
    recommendation: Recommendation,
    environment: Mapping[str, Any],
    *,
    budget: Mapping[str, Any],
    models: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of results.json; `budget` and `models` depend on the kind of comparison."""
    ranking = recommendation.ranking
    return {
        "schema": _SCHEMA,
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "classes": list(dataset.classes),
            "images": {split: len(images) for split, images in dataset.splits.items()},
        },
        "budget": budget,
        "commit": environment["commit"],
        "device": environment["device"],
        "environment": dict(environment),
        "models": models,
        "baselines": {name: asdict(estimate) for name, estimate in recommendation.baselines.items()},
        "pairs": [pair.to_dict() for pair in ranking.pairs],
        "detectable": ranking.detectable,
        "margin": ranking.margin,
        "behind": ranking.behind,
        "unstable": list(ranking.unstable),
        "recommended": recommendation.recommended,
    }
