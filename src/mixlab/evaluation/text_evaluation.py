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
from mixlab.evaluation.subject import EvaluationSubject, subject_of
from mixlab.report.numbers import number
from mixlab.report.page import Page, Section
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.speed.inference import Inference
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval
from mixlab.tasks.text import TEXT

LENGTHS = (5, 10, 20, 40)
"""The last lengths, in tokens, of the groups of texts by length. The last group has longer texts."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TextEvaluation:
    """The predictions of a model for texts that it was not trained on.

    lengths       of the texts in tokens
    tokens        the maximum length of the model; longer texts are cut
    majority      accuracy in per cent of always predicting the most frequent class
    out_of_scope  None if the data has no texts out of scope, or no validation texts
    """

    subject: EvaluationSubject
    evaluation: Evaluation
    lengths: Int64[np.ndarray, " text"]
    tokens: int
    majority: Estimate
    out_of_scope: OutOfScope | None

    @property
    def conclusion(self) -> str:
        """The accuracy beside that of the most frequent class, in a sentence."""
        top1 = self.evaluation.top1
        assert top1.low is not None and top1.high is not None  # a proportion has an interval
        return (
            f"{self.subject.model} classifies {number(top1.value, 1)} % of the texts correctly (95 % interval: "
            f"{number(top1.low, 1)} to {number(top1.high, 1)} %); always predicting the most frequent class is correct "
            f"for {number(self.majority.value, 1)} %."
        )

    @property
    def _cut(self) -> int:
        """The number of texts that are longer than the model reads."""
        return int((self.lengths > self.tokens).sum())

    def tables(self) -> list[Table]:
        """The human-readable tables."""
        shares = {metric.title: value for metric, value in summary(self.evaluation).items() if metric.is_share}
        notes = [
            f"Evaluated on: {self.subject.samples}.",
            "Brackets are 95 % intervals over texts; they do not cover other trainings.",
            *self._cut_notes,
        ]
        outside = [self.out_of_scope.table()] if self.out_of_scope else []
        whole = self.subject.table(shares | {"most frequent class": self.majority}, notes)
        return [whole, self.length_table(), *outside, self.class_table()]

    @property
    def _cut_notes(self) -> list[str]:
        if not self._cut:
            return []
        cut = pluralize(self._cut, "text")
        return [f"Cut after the first {self.tokens} tokens, the maximum length of the model: {cut}."]

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
        first = self.subject.results(TEXT.name)
        return {
            **first,
            "data": first["data"] | {"cut": self._cut},
            **{metric.key: asdict(value) for metric, value in summary(self.evaluation).items()},
            "baselines": {"majority class": asdict(self.majority)},
            "out_of_scope": self.out_of_scope and asdict(self.out_of_scope),
            "lengths": [dict(row) | {"accuracy": asdict(row["accuracy"])} for row in self.length_table().rows],  # pyright: ignore
            "classes": [asdict(metrics) for metrics in by_class(self.evaluation)],
        }

    def page(self) -> Page:
        """The report."""
        return self.subject.page(
            self.conclusion,
            " ".join([*self._cut_notes, "Intervals are over texts and do not cover other trainings."]),
            {"accuracy": self.evaluation.top1},
            [Section("Results", self.tables())],
            {},
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
        subject=subject_of(prepared, len(test), {}),
        evaluation=evaluated["test"],
        lengths=lengths_of(test),
        tokens=preprocess.tokens,
        majority=majority_accuracy(dataset.splits.get("train", test).labels, test.labels),
        out_of_scope=rejected,
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
