"""Verify weights: checksums, strict loading, logits of a reference image, and optionally the accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from mixlab.evaluation.evaluation import Evaluation
from mixlab.evaluation.model_evaluation import evaluate_model
from mixlab.report.table import Cell, Column, Table
from mixlab.weights.inspect import checksum, reference_logits
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.weights.source import find_source
from mixlab.zoo.cards import Card, Expected, find_card

_TOP_LOGITS = 3


@dataclass(frozen=True)
class Verification:
    """The result of `verify_weights`.

    checksums   SHA-256 by file name
    recorded    SHA-256 by file name, as recorded at the download
    classes     class names, empty if they are unknown
    logits      of the reference image
    data        the name of the evaluated data set
    evaluation  on the images of `data` that the weights have not learned from
    notes       about these images
    card        the Card of published weights
    """

    checksums: Mapping[str, str]
    recorded: Mapping[str, str]
    classes: tuple[str, ...]
    logits: Float[Tensor, " class"]
    data: str | None
    evaluation: Evaluation | None
    notes: tuple[str, ...]
    card: Card | None

    def table(self) -> Table:
        """One row for each check, with the measured and the expected value."""
        rows: list[dict[str, Cell]] = [
            {"check": f"SHA-256 of {file}", "value": digest, "expected": self._expected_checksum(file)}
            for file, digest in self.checksums.items()
        ]
        rows.append({"check": "strict loading", "value": "all tensors match the model"})
        best = self.logits.topk(min(_TOP_LOGITS, len(self.logits)))
        logits = ", ".join(
            f"{self.classes[index] if self.classes else index}: {value:.4f}"
            for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        )
        rows.append({"check": "largest logits of the reference image", "value": logits})
        if self.evaluation is not None:
            published = [f"{expected.value} ({expected.reported_by})" for expected in self._expectations("top1")]
            rows.append(
                {
                    "check": f"top-1 on {self.data}, %",
                    "value": self.evaluation.top1,
                    "expected": "; ".join(published) or None,
                }
            )
        columns = [
            Column("check", "check"),
            Column("value", "value", digits=1),
            Column("expected", "expected", note="from the Card; checksums also from the record of the download."),
        ]
        return Table("Verification", columns, rows, self.notes)

    @property
    def damaged(self) -> list[str]:
        """The names of the files with a wrong checksum."""
        return [file for file, digest in self.checksums.items() if self._expected_checksum(file) not in (None, digest)]

    def _expected_checksum(self, file: str) -> str | None:
        """The checksum of the Card, or else the one recorded at the download."""
        sources = self.card.sources if self.card else ()
        known = (source.sha256 for source in sources if source.file == file and source.sha256 != "unknown")
        return next(known, self.recorded.get(file))

    def _expectations(self, metric: str) -> list[Expected]:
        return [expected for expected in self.card.expected if expected.metric == metric] if self.card else []


def verify_weights(source: str, data: str | None, given: Mapping[str, Any], *, quiet: bool) -> Verification:
    """Load weights strictly and check them.

    source  published name, hub:owner/name, run, folder or file
    data    the name of a data set with the classes of the weights, to measure the accuracy; None: no evaluation
    given   config fields that cannot be inferred from the weights
    quiet   no progress bar

    Raises UserError if the weights cannot be loaded, if the classes of `data` do not match, or if the weights have
    learned from all images of a class.
    """
    opened = load_pretrained(source, **given)
    model = build_with_weights(opened.weights)
    path = find_source(source).path
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    files = [file for file in files if file.suffix != ".sha256"]
    evaluated = None if data is None else evaluate_model(source, data, fields=given, quiet=quiet)
    return Verification(
        checksums={file.name: checksum(file) for file in files},
        recorded={
            file.name: record.read_text(encoding="utf-8").split()[0]
            for file in files
            if (record := file.with_name(f"{file.name}.sha256")).is_file()
        },
        classes=opened.classes,
        logits=reference_logits(model, opened.image_preprocess),
        data=data,
        evaluation=None if evaluated is None else evaluated.evaluation,
        notes=() if evaluated is None else evaluated.notes,
        card=find_card(source),
    )
