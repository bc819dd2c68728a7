"""What a comparison of published weights found: its numbers, its answer in words, its JSON."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from mixlab.comparison.compared import Compared
from mixlab.comparison.cross_validation import CrossValidation
from mixlab.comparison.ranking import Pair
from mixlab.comparison.recommendation import power_statement
from mixlab.data.dataset import Split
from mixlab.data.folds import Folds
from mixlab.data.holdout import VALIDATION_SHARE
from mixlab.evaluation.probes.features import Backbone
from mixlab.report.text import pluralize
from mixlab.speed.plan import ComputeMode
from mixlab.stats.estimate import Estimate
from mixlab.stats.paired import crossed_interval
from mixlab.training.linear_probe.recipe import RIDGES

WARNING = (
    "This says which weights to take, and not which architecture is better: other people trained each of them, with "
    "other recipes and some on more images, so pre-training confounds the architectures. Architectures that are "
    "trained alike are compared with `--from-scratch`."
)
HOW_SURE = (
    "Every image is judged once, by a head that saw neither it nor an equal file, nor chose its settings on one; "
    "copies that are nearly the same are not looked for here, but by `mixlab data check`. "
    "Intervals are over images, those of one group (copies, or of one origin) together. Folds share training "
    "images, so their spread is no standard error and none is made of it. What other training images would have "
    "changed is not in the intervals either, which are therefore somewhat narrow: in simulations those of 95 % held "
    "the true difference of two models in 87 to 91 %."
)


@dataclass(frozen=True)
class PretrainedResult:
    """Weights with all that is known of them here: `correct` is for the judged images, in groups."""

    name: str
    provenance: str
    backbone: Backbone
    answers: CrossValidation
    correct: Float[np.ndarray, "one group"]
    parameters: int  # with a head for the data's classes
    macs: int  # of one image
    inference_mode: ComputeMode
    images_per_second: Estimate

    @cached_property
    def top1(self) -> Estimate:
        """Per cent, for other images; its n counts those that were judged."""
        return replace(crossed_interval(self.correct), n=len(self.answers.labels))


@dataclass(frozen=True, kw_only=True)
class PretrainedComparison(Compared[PretrainedResult]):
    """Of published weights. `folds`: as asked for; None: as many as there are images for."""

    if_baseline_wins = "these weights see too little in your images; train from scratch with `--from-scratch`"

    cv_folds: Folds
    folds: int | None

    @property
    def evaluated(self) -> Split:
        return self.cv_folds.images.split.subset(self.cv_folds.evaluated)

    @property
    def detectable(self) -> str:
        return power_statement(self.ranking.detectable, "more test images")

    @property
    def warning(self) -> str:
        return WARNING

    @property
    def head_recipe(self) -> dict[str, Any]:
        """For `mixlab train`: the head that was judged, of the taken weights."""
        return {"model": self.chosen.name, "data": self.dataset.name, "linear_probe": {}}

    def difference(self, pair: Pair) -> Estimate:
        """In percentage points; its n counts the images."""
        return replace(pair.estimate, n=len(self.cv_folds.evaluated))

    @property
    def test_images(self) -> str:
        return pluralize(len(self.cv_folds.evaluated), "test image")

    @property
    def way(self) -> str:
        return f"in {self.cv_folds.count} folds" if self.cv_folds.count > 1 else "in one test part"

    @property
    def title(self) -> str:
        return f"{len(self.names)} published weights on {self.data}, judged on {self.test_images} {self.way}"

    def results(self) -> dict[str, Any]:
        """results.json: the schema of every comparison, null where it is about trainings, and what folds add to it."""
        budget = {
            "folds": self.cv_folds.count if self.cv_folds.count > 1 else None,
            "ridges": list(RIDGES),
            "validation_share": VALIDATION_SHARE,
        }
        models = {result.name: self._result(result) for result in self.model_results}
        return self.found(budget, models) | {"warning": WARNING}

    def _result(self, result: PretrainedResult) -> dict[str, Any]:
        answers, top1 = result.answers, result.top1
        return {
            "top1": [top1.value],
            "mean": top1.value,
            "sd": None,
            "n": 1,
            "images_per_second": result.images_per_second.value,
            "train_images_per_second": None,
            "training_device_seconds": None,
            "training_macs": result.macs * len(self.cv_folds.images.split),  # once through the backbone, each
            "parameters": result.parameters,
            "macs": result.macs,
            "peak_bytes": None,
            "low": top1.low,
            "high": top1.high,
            "images": top1.n,
            "top1_of_folds": answers.top1_of_rounds,
            "ridges": [head.ridge for head in answers.heads],
            "temperatures": [head.temperature for head in answers.heads],
            "weights": result.backbone.weights.digest,
            "provenance": result.provenance,
        }
