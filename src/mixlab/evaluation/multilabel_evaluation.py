"""Evaluate a model with several labels per image on images that it was not trained on."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mixlab.data.batches import EvalBatches
from mixlab.errors import UserError
from mixlab.evaluation.evaluate import BATCH
from mixlab.evaluation.multilabel_metrics import METRICS, MultilabelScores
from mixlab.evaluation.multilabel_scoring import label_probabilities
from mixlab.evaluation.prepare import prepare_evaluation
from mixlab.evaluation.subject import EvaluationSubject, subject_of
from mixlab.evaluation.views import Views
from mixlab.report.numbers import number
from mixlab.report.page import Page, Section
from mixlab.report.progress import Log, progress
from mixlab.report.table import Cell, Column, Table
from mixlab.speed.inference_plan import InferencePlan, Speed
from mixlab.stats.estimate import Estimate
from mixlab.tasks.multilabel import MULTILABEL
from mixlab.tasks.multilabel_metrics import DEFAULT_THRESHOLD


@dataclass(frozen=True, eq=False, kw_only=True)
class MultilabelEvaluation:
    """The predictions of a model for images that it was not trained on."""

    subject: EvaluationSubject
    scores: MultilabelScores
    has_thresholds: bool
    plan: InferencePlan

    @property
    def conclusion(self) -> str:
        """The mean average precision and F1, in a sentence."""
        values = {key: number(estimate.value, 1) for key, estimate in self.scores.summary.items()}
        return (
            f"{self.subject.model} reaches {values['mAP']} % mAP, and with the thresholds of its labels "
            f"{values['micro_f1']} % micro-F1 and {values['macro_f1']} % macro-F1."
        )

    @property
    def _threshold_note(self) -> str:
        if self.has_thresholds:
            return (
                f"The thresholds were chosen on validation {self.subject.noun}s during the training, for the highest "
                "F1 of each label."
            )
        return f"The run had no validation {self.subject.noun}s, so every threshold is {DEFAULT_THRESHOLD}."

    @property
    def _measures(self) -> dict[str, Estimate]:
        return {METRICS[key][0]: estimate for key, estimate in self.scores.summary.items()}

    def tables(self) -> list[Table]:
        """The human-readable tables."""
        notes = [
            f"Evaluated on: {self.subject.samples}.",
            f"Brackets are 95 % bootstrap intervals over {self.subject.noun}s; they do not cover other trainings.",
            *(f"{title}: {meaning}" for title, meaning in METRICS.values()),
            self._threshold_note,
        ]
        return [self.subject.table(self._measures, notes), self.label_table()]

    def label_table(self) -> Table:
        """The metrics of each label."""
        columns = [
            Column("label", "label"),
            Column("average_precision", "average precision", "%", digits=1, uncertainty="interval"),
            Column("f1", "F1", "%", digits=1, uncertainty="interval"),
            Column("precision", "precision", "%", digits=1),
            Column("recall", "recall", "%", digits=1),
            Column("threshold", "threshold", digits=3),
            Column("images", f"{self.subject.noun}s"),
            Column("predicted", "predicted"),
        ]
        rows: list[dict[str, Cell]] = [
            {
                "label": label.name,
                "average_precision": label.average_precision,
                "f1": label.f1,
                "precision": label.precision,
                "recall": label.recall,
                "threshold": label.threshold,
                "images": label.images,
                "predicted": label.predicted,
            }
            for label in self.scores.by_label()
        ]
        return Table("Labels", columns, rows)

    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        return {
            **self.subject.results(MULTILABEL.name),
            "execution": self.plan.to_dict(),
            **{key: asdict(estimate) for key, estimate in self.scores.summary.items()},
            "labels": [asdict(label) for label in self.scores.by_label()],
        }

    def page(self) -> Page:
        """The report."""
        return self.subject.page(
            self.conclusion,
            f"{self._threshold_note} Intervals are over {self.subject.noun}s and do not cover other trainings.",
            self._measures,
            [Section("Labels", [self.label_table()])],
            {"Execution": str(self.plan)},
        )


def evaluate_multilabel(
    source: str,
    data: str | None,
    *,
    views: Views | None = None,
    device: str | None = None,
    speed: Speed = "off",
    log: Log | None = None,
    quiet: bool,
) -> MultilabelEvaluation:
    """Evaluate a run with several labels per image.

    The arguments are those of `mixlab.evaluation.model_evaluation.evaluate_model`. Images that the weights have learned
    from are left out. The thresholds are those of the run, and not fitted to the evaluated images.

    Raises UserError if no images are left, if none of them has a label, if the data can't be read, or if they have
    labels that the model lacks.
    """
    prepared = prepare_evaluation(source, data, views=views, device=device, quiet=quiet)
    split = prepared.dataset.splits["test"]
    if not split.labels.any():
        noun = prepared.dataset.noun
        raise UserError(
            f"None of the {len(split):,} evaluated {noun}s of {prepared.dataset.name} has a label, so there is nothing "
            f"to find: give {noun}s of which some have labels."
        )
    inference = prepared.inference(len(split), speed, log)
    recipe = prepared.run.recipe if prepared.run else {"workers": 0, "max_unreadable": 0}
    batches = EvalBatches(
        split,
        prepared.preprocess,
        batch=BATCH,
        workers=recipe["workers"],
        max_unreadable=recipe["max_unreadable"],
        quiet=quiet,
    )

    parts = []
    with progress(f"evaluate {source}", total=len(split), quiet=quiet) as advance:
        for part in label_probabilities(inference, split, batches):
            parts.append(part)
            advance(len(part))
    probabilities, classes = np.concatenate(parts), prepared.dataset.classes
    thresholds = prepared.fitted.get("thresholds", [DEFAULT_THRESHOLD] * len(classes))
    return MultilabelEvaluation(
        subject=subject_of(prepared, len(probabilities), batches.unreadable),
        scores=MultilabelScores(classes, probabilities, split.labels[batches.readable], np.array(thresholds)),
        has_thresholds="thresholds" in prepared.fitted,
        plan=inference.plan,
    )
