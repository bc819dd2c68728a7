"""The result of a comparison of published weights: numbers, recommendation, results.json."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from mixlab.comparison.compared import (
    dataset_title,
    find_model,
    rank_models,
    recommend,
    results_json,
    sort_by_score,
)
from mixlab.comparison.cross_validation import CrossValidation, variance_factor
from mixlab.comparison.ranking import Pair, Ranking
from mixlab.comparison.recommendation import Recommendation, images_needed, power_statement
from mixlab.data.dataset import Dataset, Split
from mixlab.data.folds import Folds
from mixlab.data.holdout import VALIDATION_SHARE
from mixlab.evaluation.probes.features import Backbone
from mixlab.evaluation.probes.ridge import RIDGES
from mixlab.evaluation.unseen_images import UnseenImages
from mixlab.report.text import pluralize
from mixlab.speed.plan import ComputeMode
from mixlab.stats.estimate import Estimate
from mixlab.stats.paired import crossed_interval
from mixlab.tasks.classification import CLASSIFICATION

WARNING = (
    "This comparison shows which weights to use, not which architecture is better: the weights were trained by "
    "different authors with different recipes, and some of them on more images, so pre-training confounds the "
    "architectures. To compare architectures that are trained alike, use `--from-scratch`."
)
UNCERTAINTY_NOTE = (
    "Every {noun} is evaluated once, by a head that was neither fitted nor tuned on this {noun} or on a copy of it. "
    "Intervals are over {noun}s; the {noun}s of one group (copies, or {noun}s of one origin) are kept together. Folds "
    "share training {noun}s, so the spread of their accuracies is not a standard error, and no standard error is "
    "computed from it."
)
FOLDS_NOTE = (
    "Other training {noun}s would give other heads. The variance of an accuracy over {folds} folds is therefore "
    "multiplied by {factor:.2f} (Nadeau and Bengio, 2003), in all intervals and bounds. In simulations, the 95 % "
    "intervals then contained the true difference of two models in 95 to 100 % of the cases."
)
ONE_SPLIT_NOTE = (
    "The intervals do not include the variation due to other training {noun}s, so they are somewhat narrow."
)


@dataclass(frozen=True)
class PretrainedResult:
    """Published weights with the head that was fitted on their features.

    provenance         by whom and on what the weights were trained, one or two sentences
    cross_validation   the heads and their predictions
    scores             share of correct predictions in each group of evaluated images
    parameters         including a head for the classes of the data set
    macs               of one image
    inference_mode     precision and memory layout in which `images_per_second` was measured
    images_per_second  inference speed
    """

    name: str
    provenance: str
    backbone: Backbone
    cross_validation: CrossValidation
    scores: Float[np.ndarray, "1 group"]
    parameters: int
    macs: int
    inference_mode: ComputeMode
    images_per_second: Estimate

    @cached_property
    def mean_score(self) -> Estimate:
        """Accuracy in per cent; `n` is the number of evaluated images.

        The interval covers other images and, in folds, other training images.
        """
        factor = variance_factor(len(self.cross_validation.heads))
        interval = crossed_interval(self.scores, image_variance_factor=factor)
        return replace(interval, n=len(self.cross_validation.labels))


@dataclass(frozen=True, kw_only=True)
class PretrainedComparison:
    """Published weights that were evaluated on the same images.

    dataset          without the images that the weights have learned from
    unseen           how many these are
    cv_folds         the assignment of images to folds
    requested_folds  the number of folds that the user requested; None: chosen by the number of images
    model_results    in the order in which the user named the weights
    baselines        accuracy in per cent of methods without training, by name
    margin           in percentage points: weights that are at most this far behind the best may be recommended
    environment      the machine and the library versions, see `mixlab.measure.machine.describe`
    """

    dataset: Dataset
    unseen: UnseenImages
    cv_folds: Folds
    requested_folds: int | None
    model_results: tuple[PretrainedResult, ...]
    baselines: dict[str, Estimate]
    margin: float
    environment: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """In the order of the user, which determines the colours."""
        return [result.name for result in self.model_results]

    @property
    def ranked(self) -> list[PretrainedResult]:
        """The most accurate model first."""
        return sort_by_score(self.model_results)

    def __getitem__(self, name: str) -> PretrainedResult:
        return find_model(self.model_results, name)

    @cached_property
    def ranking(self) -> Ranking:
        return rank_models(
            self.model_results, margin=self.margin, image_variance_factor=variance_factor(self.cv_folds.count)
        )

    @property
    def recommendation(self) -> Recommendation:
        noun = self.dataset.noun
        return recommend(
            self.model_results,
            self.ranking,
            self.baselines,
            score=CLASSIFICATION.sample_score,
            noun=noun,
            baseline_advice=f"the features of these weights do not suit your {noun}s; train with `--from-scratch`",
            unsupported="",
            decisive=images_needed(self.ranking.needed, images=len(self.cv_folds.evaluated), noun=noun),
        )

    @property
    def chosen(self) -> PretrainedResult:
        """The recommended weights, or else the best observed."""
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
    def evaluated_split(self) -> Split:
        """The images that were evaluated."""
        return self.cv_folds.images.split.subset(self.cv_folds.evaluated)

    @property
    def detectable(self) -> str:
        """What a comparison of this size can detect, in words."""
        return power_statement(self.ranking.detectable, f"more test {self.dataset.noun}s")

    @property
    def warning(self) -> str:
        return WARNING

    @property
    def uncertainty_note(self) -> str:
        """What the intervals include."""
        count = self.cv_folds.count
        scope = FOLDS_NOTE if count > 1 else ONE_SPLIT_NOTE
        note = f"{UNCERTAINTY_NOTE} {scope}"
        return note.format(noun=self.dataset.noun, folds=count, factor=variance_factor(count))

    @property
    def head_recipe(self) -> dict[str, Any]:
        """The recipe for `mixlab train` that fits a head on the recommended weights."""
        return {"model": self.chosen.name, "data": self.dataset.name, "linear_probe": {}}

    def difference(self, pair: Pair) -> Estimate:
        """The difference in percentage points; `n` is the number of evaluated images."""
        return replace(pair.difference.estimate, n=len(self.cv_folds.evaluated))

    @property
    def test_samples(self) -> str:
        """ "200 test images"."""
        return pluralize(len(self.cv_folds.evaluated), f"test {self.dataset.noun}")

    @property
    def evaluation_scheme(self) -> str:
        """ "in 5 folds" or "in one test split"."""
        return f"in {self.cv_folds.count} folds" if self.cv_folds.count > 1 else "in one test split"

    @property
    def title(self) -> str:
        weights = f"{len(self.names)} published weights on {self.data}"
        return f"{weights}, evaluated on {self.test_samples} {self.evaluation_scheme}"

    def results(self) -> dict[str, Any]:
        """The content of results.json.

        It has the keys of every comparison, with null for those about training, and adds keys for the folds.
        """
        budget = {
            "folds": self.cv_folds.count if self.cv_folds.count > 1 else None,
            "ridges": list(RIDGES),
            "validation_share": VALIDATION_SHARE,
        }
        models = {result.name: self._result(result) for result in self.model_results}
        common = results_json(self.dataset, self.recommendation, self.environment, budget=budget, models=models)
        learned = {"left_out": self.unseen.left_out, "near_copies": self.unseen.near_copies}
        of_trainings = {"training_seconds": None, "plans": None}
        return common | {"data": common["data"] | learned, **of_trainings, "warning": WARNING}

    def _result(self, result: PretrainedResult) -> dict[str, Any]:
        cross_validation, top1 = result.cross_validation, result.mean_score
        return {
            "top1": [top1.value],
            "mean": top1.value,
            "sd": None,
            "n": 1,
            "images_per_second": result.images_per_second.value,
            "train_images_per_second": None,
            "training_device_seconds": None,
            "training_macs": result.macs * len(self.cv_folds.images.split),  # one forward pass per image
            "parameters": result.parameters,
            "macs": result.macs,
            "peak_bytes": None,
            "low": top1.low,
            "high": top1.high,
            "images": top1.n,
            "top1_of_folds": cross_validation.top1_of_rounds,
            "ridges": [head.ridge for head in cross_validation.heads],
            "temperatures": [head.temperature for head in cross_validation.heads],
            "weights": result.backbone.weights.digest,
            "provenance": result.provenance,
        }
