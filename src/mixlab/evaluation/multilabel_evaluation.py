"""Evaluate a model with several labels per image on images that it was not trained on."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from mixlab.data.batches import EvalBatches
from mixlab.evaluation.evaluate import BATCH, require_finite
from mixlab.evaluation.multilabel_metrics import METRICS, MultilabelScores
from mixlab.evaluation.prepare import PreparedEvaluation, prepare_evaluation
from mixlab.evaluation.views import Views
from mixlab.measure import machine
from mixlab.report.machine import machine_facts
from mixlab.report.numbers import number
from mixlab.report.page import KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.report.progress import progress
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.speed.inference_plan import InferencePlan, Speed
from mixlab.tasks.multilabel import MULTILABEL
from mixlab.tasks.multilabel_metrics import DEFAULT_THRESHOLD

SCHEMA = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class MultilabelEvaluation:
    """The predictions of a model for images that it was not trained on.

    evaluated    which images were evaluated, in words
    left_out     the number of images that were left out because the model has learned from them
    environment  the machine and the library versions, see `mixlab.measure.machine.describe`
    """

    source: str
    model: str
    data: str
    evaluated: str
    scores: MultilabelScores
    has_thresholds: bool
    left_out: int
    notes: tuple[str, ...]
    plan: InferencePlan
    environment: dict[str, Any]

    @property
    def title(self) -> str:
        return f"{self.model} on {self.data}"

    @property
    def _images(self) -> str:
        return f"{self.evaluated}, {pluralize(len(self.scores.truth), 'image')}"

    @property
    def conclusion(self) -> str:
        """The mean average precision and F1, in a sentence."""
        values = self.scores.summary
        return (
            f"{self.model} reaches {number(values['mAP'].value, 1)} % mAP, and with the thresholds of its labels "
            f"{number(values['micro_f1'].value, 1)} % micro-F1 and {number(values['macro_f1'].value, 1)} % macro-F1."
        )

    @property
    def _threshold_note(self) -> str:
        if self.has_thresholds:
            return (
                "The thresholds were chosen on validation images during the training, for the highest F1 of each label."
            )
        return f"The run had no validation images, so every threshold is {DEFAULT_THRESHOLD}."

    def tables(self) -> list[Table]:
        """The human-readable tables."""
        summary: list[dict[str, Cell]] = [
            {"measure": METRICS[key][0], "value": estimate} for key, estimate in self.scores.summary.items()
        ]
        notes = [
            f"Evaluated on: {self._images}.",
            "Brackets are 95 % bootstrap intervals over images; they do not cover other trainings.",
            *(f"{title}: {meaning}" for title, meaning in METRICS.values()),
            self._threshold_note,
            *self.notes,
        ]
        columns = [Column("measure", "measure"), Column("value", "value", "%", digits=1, uncertainty="interval")]
        return [Table(self.title, columns, summary, notes), self.label_table()]

    def label_table(self) -> Table:
        """The metrics of each label."""
        columns = [
            Column("label", "label"),
            Column("average_precision", "average precision", "%", digits=1, uncertainty="interval"),
            Column("f1", "F1", "%", digits=1, uncertainty="interval"),
            Column("precision", "precision", "%", digits=1),
            Column("recall", "recall", "%", digits=1),
            Column("threshold", "threshold", digits=3),
            Column("images", "images"),
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
            "schema": SCHEMA,
            "task": MULTILABEL.name,
            "source": self.source,
            "model": self.model,
            "data": {
                "name": self.data,
                "evaluated": self.evaluated,
                "images": len(self.scores.truth),
                "left_out": self.left_out,
            },
            "commit": self.environment["commit"],
            "device": self.environment["device"],
            "execution": self.plan.to_dict(),
            **{key: asdict(estimate) for key, estimate in self.scores.summary.items()},
            "labels": [asdict(label) for label in self.scores.by_label()],
        }

    def page(self) -> Page:
        """The report."""
        facts = {"Weights": self.source, "Data": f"{self.data}: {self._images}", "Execution": str(self.plan)}
        return Page(
            title=self.title,
            kicker=f"mixlab evaluate: {self.source}",
            summary=Summary(
                self.conclusion,
                f"Evaluated on: {self._images}. {self._threshold_note} Intervals are over images and do not cover "
                "other trainings.",
                [Metric(METRICS[key][0], estimate, 1) for key, estimate in self.scores.summary.items()],
            ),
            sections=[
                Section("Labels", [self.label_table()]),
                Section("Run details", [*self.notes, KeyValues(facts | machine_facts(self.environment))]),
            ],
            footer=written_by(self.environment["versions"]["mixlab"]),
        )


def evaluate_multilabel(
    source: str,
    data: str | None,
    *,
    views: Views | None = None,
    device: str | None = None,
    speed: Speed = "off",
    log: Callable[[str], None] | None = None,
    quiet: bool,
) -> MultilabelEvaluation:
    """Evaluate a run with several labels per image.

    The arguments are those of `mixlab.evaluation.model_evaluation.evaluate_model`. Images that the weights have learned
    from are left out. The thresholds are those of the run, and not fitted to the evaluated images.

    Raises UserError if no images are left, if the data can't be read, or if they have labels that the model lacks.
    """
    prepared = prepare_evaluation(source, data, views=views, device=device, quiet=quiet)
    split = prepared.dataset.splits["test"]
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

    def predicted() -> Iterator[np.ndarray]:
        with progress(f"evaluate {source}", total=len(split), quiet=quiet) as advance:
            for batch in batches:
                images, _ = batch.on(inference.device)
                inference.plan_for(images, len(split))
                with torch.inference_mode():
                    (logits,) = inference(images)
                require_finite(logits, [split.names[index] for index in batch.indices])
                yield MULTILABEL.probabilities(logits).numpy(force=True)
                advance(len(images))

    probabilities, classes = np.concatenate(list(predicted())), prepared.dataset.classes
    thresholds = prepared.fitted.get("thresholds", [DEFAULT_THRESHOLD] * len(classes))
    return MultilabelEvaluation(
        source=source,
        model=prepared.model,
        data=prepared.dataset.name,
        evaluated=prepared.evaluated,
        scores=MultilabelScores(classes, probabilities, split.labels[batches.readable], np.array(thresholds)),
        has_thresholds="thresholds" in prepared.fitted,
        left_out=prepared.unseen.left_out,
        notes=_notes(prepared, batches.unreadable),
        plan=inference.plan,
        environment=machine.describe(prepared.device),
    )


def _notes(prepared: PreparedEvaluation, unreadable: dict[str, str]) -> tuple[str, ...]:
    skipped = (f"{image} was left out: {reason}." for image, reason in unreadable.items())
    return (*prepared.dataset.notes, *prepared.unseen.notes, *skipped)
