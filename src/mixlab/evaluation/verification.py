"""Whether weights are what they are said to be: checksum, strict loading, the answer to a fixed image, accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mixlab.data.batches import EvalBatches
from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_for_evaluation
from mixlab.errors import UserError
from mixlab.evaluation.evaluate import Evaluation, evaluate, predict_fn
from mixlab.measure.machine import pick_device
from mixlab.report.table import Cell, Column, Table
from mixlab.speed.plan import ComputeMode, prepare_model
from mixlab.weights.inspect import checksum, reference_logits
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.weights.source import find_source
from mixlab.zoo.cards import Card, Expected, find_card
from mixlab.zoo.class_names import synsets

_BATCH = 64
_SHOWN = 3


@dataclass(frozen=True)
class Verification:
    checksums: Mapping[str, str]  # SHA-256 by file
    recorded: Mapping[str, str]  # the same when it was downloaded
    classes: tuple[str, ...]
    logits: Tensor  # (class,), of the fixed image
    data: str | None
    evaluation: Evaluation | None  # on `data`
    card: Card | None

    def table(self) -> Table:
        rows: list[dict[str, Cell]] = [
            {"what": f"SHA-256 of {file}", "found": sum256, "expected": self._expected_checksum(file)}
            for file, sum256 in self.checksums.items()
        ]
        rows.append({"what": "strict loading", "found": "every tensor has its place"})
        best = self.logits.topk(min(_SHOWN, len(self.logits)))
        shown = ", ".join(
            f"{self.classes[place] if self.classes else place}: {value:.4f}"
            for value, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        )
        rows.append({"what": "logits of the fixed image, the greatest", "found": shown})
        if self.evaluation is not None:
            published = [f"{one.value} ({one.reported_by})" for one in self._expectations("top1")]
            rows.append(
                {
                    "what": f"top-1 on {self.data}, %",
                    "found": self.evaluation.top1,
                    "expected": "; ".join(published) or None,
                }
            )
        columns = [
            Column("what", "what"),
            Column("found", "found", digits=1),
            Column("expected", "expected", note="by the Card, a checksum also by the download."),
        ]
        return Table("Verified", columns, rows)

    @property
    def damaged(self) -> list[str]:
        """The files that are no longer, or never were, what they should be."""
        return [file for file, found in self.checksums.items() if self._expected_checksum(file) not in (None, found)]

    def _expected_checksum(self, file: str) -> str | None:
        """The Card's; where nobody has read that one, the sum that was taken at the download."""
        sources = self.card.sources if self.card else ()
        known = (source.sha256 for source in sources if source.file == file and source.sha256 != "unknown")
        return next(known, self.recorded.get(file))

    def _expectations(self, what: str) -> list[Expected]:
        return [one for one in self.card.expected if one.what == what] if self.card else []


def verify_weights(source: str, data: str | None, given: Mapping[str, Any], *, quiet: bool) -> Verification:
    """`data`: labelled images whose classes the weights have. Raises UserError."""
    opened = load_pretrained(source, **given)
    model = build_with_weights(opened.weights)
    place = find_source(source).path
    files = [place] if place.is_file() else sorted(file for file in place.iterdir() if file.is_file())
    files = [file for file in files if file.suffix != ".sha256"]
    evaluation, card = None, find_card(source)
    if data is not None:
        device = pick_device()
        batches = EvalBatches(
            _labelled(data, opened.classes, card).splits["test"],
            opened.preprocess,
            batch=_BATCH,
            workers=0,
            max_unreadable=0,
            quiet=quiet,
        )
        answers = predict_fn(
            prepare_model(build_with_weights(opened.weights), device, ComputeMode()), device, ComputeMode()
        )
        evaluation = evaluate(answers, batches, opened.classes)
    return Verification(
        checksums={file.name: checksum(file) for file in files},
        recorded={
            file.name: record.read_text(encoding="utf-8").split()[0]
            for file in files
            if (record := file.with_name(f"{file.name}.sha256")).is_file()
        },
        classes=opened.classes,
        logits=reference_logits(model, opened.preprocess),
        data=data,
        evaluation=evaluation,
        card=card,
    )


def _labelled(data: str, classes: tuple[str, ...], card: Card | None) -> Dataset:
    """ImageNet's folders are called by WordNet's identifiers, the classes by what they are."""
    try:
        return open_for_evaluation(data, classes)
    except UserError:
        if not card or not synsets(card.labels):
            raise
        return open_for_evaluation(data, synsets(card.labels))
