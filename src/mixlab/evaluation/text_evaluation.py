"""Evaluate a model for texts on texts that it was not trained on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64

from mixlab.data.dataset import Split
from mixlab.data.text.hashing import tokens_of
from mixlab.data.text.preprocess import TextPreprocess
from mixlab.data.text.sources import out_of_scope_texts
from mixlab.data.text.text import Text
from mixlab.errors import UserError
from mixlab.evaluation.baselines import majority_accuracy
from mixlab.evaluation.evaluate import BATCH, evaluate
from mixlab.evaluation.evaluation import Evaluation
from mixlab.evaluation.metrics import by_class, summary
from mixlab.evaluation.out_of_scope import OutOfScope, best_threshold, evaluate_out_of_scope
from mixlab.evaluation.prepare import prepare_evaluation
from mixlab.measure import machine
from mixlab.report.machine import machine_facts
from mixlab.report.numbers import number
from mixlab.report.page import KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.speed.inference import Inference
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval
from mixlab.tasks.text import TEXT

SCHEMA = 1

LENGTHS = (5, 10, 20, 40)
"""The last lengths, in tokens, of the groups of texts by length. The last group has longer texts."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TextEvaluation:
    """The predictions of a model for texts that it was not trained on.

    evaluated     which texts were evaluated, in words
    lengths       of the texts in tokens
    tokens        the maximum length of the model; longer texts are cut
    majority      accuracy in per cent of always predicting the most frequent class
    out_of_scope  None if the data has no texts out of scope, or no validation texts
    left_out      the number of texts that were left out because the model has learned from them
    environment   the machine and the library versions, see `mixlab.measure.machine.describe`
    """

    source: str
    model: str
    data: str
    evaluated: str
    evaluation: Evaluation
    lengths: Int64[np.ndarray, " text"]
    tokens: int
    majority: Estimate
    out_of_scope: OutOfScope | None
    left_out: int
    notes: tuple[str, ...]
    environment: dict[str, Any]

    @property
    def title(self) -> str:
        return f"{self.model} on {self.data}"

    @property
    def conclusion(self) -> str:
        """The accuracy beside that of the most frequent class, in a sentence."""
        top1 = self.evaluation.top1
        assert top1.low is not None and top1.high is not None  # a proportion has an interval
        return (
            f"{self.model} classifies {number(top1.value, 1)} % of the texts correctly (95 % interval: "
            f"{number(top1.low, 1)} to {number(top1.high, 1)} %); always predicting the most frequent class is correct "
            f"for {number(self.majority.value, 1)} %."
        )

    @property
    def _texts(self) -> str:
        return f"{self.evaluated}, {pluralize(len(self.evaluation), 'text')}"

    @property
    def _all_notes(self) -> tuple[str, ...]:
        cut = int((self.lengths > self.tokens).sum())
        cut_note = (
            f"Cut after the first {self.tokens} tokens, the maximum length of the model: {pluralize(cut, 'text')}."
        )
        return (*((cut_note,) if cut else ()), *self.notes)

    def tables(self) -> list[Table]:
        """The human-readable tables."""
        metrics = {metric: value for metric, value in summary(self.evaluation).items() if metric.is_share}
        rows: list[dict[str, Cell]] = [
            *({"measure": metric.title, "value": value} for metric, value in metrics.items()),
            {"measure": "most frequent class", "value": self.majority},
        ]
        columns = [Column("measure", "measure"), Column("value", "value", "%", digits=1, uncertainty="interval")]
        notes = [
            f"Evaluated on: {self._texts}.",
            "Brackets are 95 % intervals over texts; they do not cover other trainings.",
            *self._all_notes,
        ]
        outside = [self.out_of_scope.table()] if self.out_of_scope else []
        return [Table(self.title, columns, rows, notes), self.length_table(), *outside, self.class_table()]

    def length_table(self) -> Table:
        """The accuracy by the number of tokens."""
        ends, rows = np.array(LENGTHS), list[dict[str, Cell]]()
        groups = np.searchsorted(ends, self.lengths)
        for group in np.unique(groups).tolist():
            correct = self.evaluation.correct[groups == group]
            first = 1 if group == 0 else LENGTHS[group - 1] + 1
            name = f"{first} to {LENGTHS[group]}" if group < len(LENGTHS) else f"{first} or more"
            share = proportion_interval(int(correct.sum()), len(correct))
            rows.append({"tokens": name, "texts": len(correct), "accuracy": share})
        columns = [
            Column("tokens", "tokens"),
            Column("texts", "texts"),
            Column("accuracy", "accuracy", "%", digits=1, uncertainty="interval"),
        ]
        return Table("Accuracy by length", columns, rows)

    def class_table(self) -> Table:
        """The metrics of each class."""
        columns = [
            Column("class", "class"),
            Column("texts", "texts"),
            *(
                Column(key, title, "%", digits=1, uncertainty="interval")
                for key, title in (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
            ),
        ]
        rows: list[dict[str, Cell]] = [
            {
                "class": one.name,
                "texts": one.images,
                "precision": one.precision,
                "recall": one.recall,
                "f1": one.f1,
            }
            for one in by_class(self.evaluation)
        ]
        return Table("Classes", columns, rows)

    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        return {
            "schema": SCHEMA,
            "task": TEXT.name,
            "source": self.source,
            "model": self.model,
            "data": {
                "name": self.data,
                "evaluated": self.evaluated,
                "texts": len(self.evaluation),
                "left_out": self.left_out,
                "cut": int((self.lengths > self.tokens).sum()),
            },
            "commit": self.environment["commit"],
            "device": self.environment["device"],
            **{metric.key: asdict(value) for metric, value in summary(self.evaluation).items()},
            "baselines": {"majority class": asdict(self.majority)},
            "out_of_scope": self.out_of_scope and asdict(self.out_of_scope),
            "lengths": [dict(row) | {"accuracy": asdict(row["accuracy"])} for row in self.length_table().rows],  # pyright: ignore
            "classes": [asdict(metrics) for metrics in by_class(self.evaluation)],
        }

    def page(self) -> Page:
        """The report."""
        first, *others = self.tables()
        return Page(
            title=self.title,
            kicker=f"mixlab evaluate: {self.source}",
            summary=Summary(
                self.conclusion,
                f"Evaluated on: {self._texts}. Intervals are over texts and do not cover other trainings.",
                [Metric("accuracy", self.evaluation.top1, 1)],
            ),
            sections=[
                Section("Results", [first, *others]),
                Section("Run details", [*self._all_notes, KeyValues(machine_facts(self.environment))]),
            ],
            footer=written_by(self.environment["versions"]["mixlab"]),
        )


def evaluate_texts(source: str, data: str | None, *, device: str | None = None, quiet: bool) -> TextEvaluation:
    """Evaluate a run for texts, eager in fp32.

    The arguments are those of `mixlab.evaluation.model_evaluation.evaluate_model`. Texts that the weights have learned
    from are left out. If the data has texts out of scope, a confidence threshold is chosen on its validation texts.

    Raises UserError if no texts are left, if the data can't be read, or if it has classes that the model lacks.
    """
    prepared = prepare_evaluation(source, data, device=device, quiet=quiet)
    preprocess, dataset = prepared.preprocess, prepared.dataset
    if not isinstance(preprocess, TextPreprocess):
        raise UserError(f"{source} is a model for images, so it can't be evaluated on texts: give a model for texts.")
    test = dataset.splits["test"]
    inference = prepared.inference(len(test), "off", None)
    evaluated = {
        name: evaluate(inference, split, preprocess, dataset.classes, quiet=quiet).evaluation
        for name, split in dataset.splits.items()
        if name != "train"
    }
    outside = out_of_scope_texts(dataset.name)
    rejected = None
    if outside.keys() >= {"validation", "test"} and "validation" in evaluated:
        of_split = {name: confidences_of(inference, preprocess, texts) for name, texts in outside.items()}
        validation = evaluated["validation"]
        threshold = best_threshold(validation.confidences, validation.correct, of_split["validation"])
        rejected = evaluate_out_of_scope(
            threshold, evaluated["test"].confidences, evaluated["test"].correct, of_split["test"]
        )
    return TextEvaluation(
        source=source,
        model=prepared.model,
        data=dataset.name,
        evaluated=prepared.evaluated,
        evaluation=evaluated["test"],
        lengths=lengths_of(test),
        tokens=preprocess.tokens,
        majority=majority_accuracy(dataset.splits.get("train", test).labels, test.labels),
        out_of_scope=rejected,
        left_out=prepared.unseen.left_out,
        notes=(*dataset.notes, *prepared.unseen.notes),
        environment=machine.describe(prepared.device),
    )


def lengths_of(split: Split) -> Int64[np.ndarray, " text"]:
    """The number of tokens of each text."""
    return np.array([len(tokens_of(text.content)) for text in split.images if isinstance(text, Text)], dtype=np.int64)


def confidences_of(
    inference: Inference, preprocess: TextPreprocess, texts: Sequence[str]
) -> Float[np.ndarray, " text"]:
    """The probability of the most probable class of each text."""
    found = []
    for start in range(0, len(texts), BATCH):
        encoded = torch.stack([preprocess.encoded(text) for text in texts[start : start + BATCH]])
        (logits,) = inference(preprocess.finished(encoded.to(inference.device)))
        found.append(TEXT.probabilities(logits).max(dim=1).values.numpy(force=True))
    return np.concatenate(found)
