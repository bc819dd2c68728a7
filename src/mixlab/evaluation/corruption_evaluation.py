"""How much accuracy a model keeps on corrupted images: ImageNet-C's kinds and severities on any test images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from mixlab.evaluation.corruptions.averages import corruption_accuracy, mce, mean_corruption_error
from mixlab.evaluation.corruptions.corrupt import KINDS, SEVERITIES, check_corruption
from mixlab.evaluation.corruptions.corrupted_images import corrupted, without_resizing
from mixlab.evaluation.prepare import prepare_evaluation
from mixlab.evaluation.scorer import Scorer
from mixlab.evaluation.views import Views
from mixlab.report.progress import Log
from mixlab.report.table import Cell, Column, Table
from mixlab.speed.inference_plan import InferencePlan, Speed
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval
from mixlab.weights.classifier import require_no_sounds


@dataclass(frozen=True, eq=False)
class CorruptionEvaluation:
    """Which corrupted images a model classifies correctly.

    model    the name of the model
    data     the name of the data set
    correct  for each kind and severity, in the order of the images
    plan     how the model ran on all of them
    """

    model: str
    data: str
    kinds: tuple[str, ...]
    severities: tuple[int, ...]
    correct: Bool[np.ndarray, "kind severity image"]
    plan: InferencePlan

    @property
    def accuracy(self) -> Estimate:
        """The mean accuracy over kinds and severities in per cent, with an interval over images."""
        return corruption_accuracy(self.correct.reshape(-1, self.correct.shape[-1]))

    def top1(self, kind: int, severity: int) -> Estimate:
        """The accuracy in per cent, by index."""
        correct = self.correct[kind, severity]
        return proportion_interval(int(correct.sum()), len(correct))

    @property
    def errors(self) -> dict[str, list[float]]:
        """The top-1 errors in per cent of each kind, by severity."""
        means = self.correct.mean(axis=2)
        return {kind: (100 * (1 - of_kind)).tolist() for kind, of_kind in zip(self.kinds, means, strict=True)}

    @property
    def is_complete(self) -> bool:
        """Whether all kinds and severities of the papers were evaluated, so that their averages are defined."""
        return self.kinds == KINDS and self.severities == SEVERITIES

    def table(self) -> Table:
        """One row for each kind, with the accuracy at each severity and their mean."""
        columns = [
            Column("kind", "corruption"),
            *(Column(str(severity), f"severity {severity}", "%", 1) for severity in self.severities),
            Column("mean", "mean", "%", 1),
        ]
        rows: list[dict[str, Cell]] = []
        for index, kind in enumerate(self.kinds):
            shares = 100 * self.correct[index].mean(axis=1)
            cells = dict(zip(map(str, self.severities), shares.tolist(), strict=True))
            rows.append({"kind": kind.replace("_", " "), **cells, "mean": float(shares.mean())})
        rows.append({"kind": "all", "mean": self.accuracy})
        notes = [f"Top-1 of {self.model} on {self.correct.shape[-1]:,} images, corrupted in each way."]
        if self.is_complete:
            notes.append(f"Mean corruption error: {mean_corruption_error(self.errors):.1f} %.")
            notes.append(
                f"mCE relative to AlexNet: {mce(self.errors):.1f} %, an approximation: the published ImageNet-C has "
                "photographs of frost, and its images were saved as JPEG."
            )
        return Table(f"Corruptions of {self.data}", columns, rows, notes)

    def to_dict(self) -> dict[str, Any]:
        """The entry in results.json."""
        return {
            "accuracy": asdict(self.accuracy),
            "top1": {
                kind: {str(severity): asdict(self.top1(row, column)) for column, severity in enumerate(self.severities)}
                for row, kind in enumerate(self.kinds)
            },
            "mean_corruption_error": mean_corruption_error(self.errors) if self.is_complete else None,
            "mce": mce(self.errors) if self.is_complete else None,
            "execution": self.plan.to_dict(),
        }


def evaluate_corruptions(
    source: str,
    data: str | None,
    kinds: Sequence[str] = KINDS,
    severities: Sequence[int] = SEVERITIES,
    *,
    views: Views | None = None,
    device: str | None = None,
    speed: Speed = "off",
    log: Log | None = None,
    quiet: bool,
) -> CorruptionEvaluation:
    """Evaluate weights on corrupted test images. Each kind and severity takes as long as one evaluation.

    All of them are evaluated under one plan.

    source, data  as for `mixlab.evaluation.model_evaluation.evaluate_model`, with its errors
    kinds         of the corruptions, names of `mixlab.evaluation.corruptions.corrupt.KINDS`
    severities    from 1 to 5
    views         the crop and the test-time augmentation; None: those of the weights
    speed         "auto", or "off" for eager execution in fp32
    log           called with a line about the plan that was selected
    """
    for kind in kinds:
        for severity in severities:
            check_corruption(kind, severity)
    prepared = prepare_evaluation(source, data, views=views, device=device, quiet=quiet)
    test, preprocess = prepared.dataset.splits["test"], prepared.image_preprocess
    require_no_sounds(preprocess, source, "be evaluated on corrupted images")
    resized = replace(prepared, preprocess=without_resizing(preprocess))
    inference = prepared.inference(len(kinds) * len(severities) * len(test), speed, log)

    def correct(kind: str, severity: int) -> Bool[np.ndarray, " image"]:
        split = corrupted(test, preprocess, kind, severity)
        dataset, change = replace(prepared.dataset, splits={"test": split}), {"kind": kind, "severity": severity}
        scorer = Scorer(resized, dataset, inference, with_logits=False, change=change)
        evaluation = scorer("test").evaluation
        scorer.remove_parts()
        return evaluation.correct

    found = np.array([[correct(kind, severity) for severity in severities] for kind in kinds])
    return CorruptionEvaluation(
        prepared.model, prepared.dataset.name, tuple(kinds), tuple(severities), found, inference.plan
    )
