"""Evaluate a segmentation on images that it was not trained on, at the size of these images."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mixlab.data.masks import Masks
from mixlab.evaluation.class_maps import ClassMapper
from mixlab.evaluation.prepare import PreparedEvaluation, prepare_evaluation
from mixlab.evaluation.segmentation_metrics import METRICS, SegmentationScores
from mixlab.evaluation.segmentation_scoring import ScoredSplit, score_split
from mixlab.measure import machine
from mixlab.report.image_panels import ImageFigure, ImagePanel
from mixlab.report.machine import machine_facts
from mixlab.report.masks import class_legend, error_legend, error_strip
from mixlab.report.numbers import number
from mixlab.report.page import KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import join_words, pluralize
from mixlab.speed.inference import Inference
from mixlab.tasks.segmentation import SEGMENTATION

SCHEMA = 1
_SHOWN = 6
"""Images on the page, from the worst to the best mIoU."""
_WIDTH = 240
"""Pixels of each part of a shown image on the page, at most."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SegmentationEvaluation:
    """The predicted masks of a model for images that it was not trained on, as counts of pixels.

    evaluated    which images were evaluated, in words
    method       how the images were given to the model, in words
    shown        some images with their truth, prediction and errors
    left_out     the number of images that were left out because the model has learned from them
    environment  the machine and the library versions, see `mixlab.measure.machine.describe`
    """

    source: str
    model: str
    data: str
    evaluated: str
    method: str
    scores: SegmentationScores
    shown: tuple[ImagePanel, ...]
    left_out: int
    notes: tuple[str, ...]
    environment: dict[str, Any]

    @property
    def title(self) -> str:
        return f"{self.model} on {self.data}"

    @property
    def _images(self) -> str:
        return f"{self.evaluated}, {pluralize(len(self.scores.counts), 'image')}"

    @property
    def conclusion(self) -> str:
        """The metrics in a sentence."""
        values = [f"{number(value.value, 1)} % {METRICS[key][0]}" for key, value in self.scores.summary.items()]
        return f"{self.model} reaches {join_words(values)}."

    def tables(self) -> list[Table]:
        """The human-readable tables."""
        summary: list[dict[str, Cell]] = [
            {"measure": METRICS[key][0], "value": estimate} for key, estimate in self.scores.summary.items()
        ]
        notes = [
            f"Evaluated on: {self._images}. {self.method}",
            "Brackets are 95 % bootstrap intervals over images; they do not cover other trainings, and images of one "
            "video are more alike than they assume.",
            *(f"{title}: {meaning}" for title, meaning in METRICS.values()),
            *self.notes,
        ]
        columns = [Column("measure", "measure"), Column("value", "value", "%", digits=1, uncertainty="interval")]
        return [Table(self.title, columns, summary, notes), self.class_table()]

    def class_table(self) -> Table:
        """The metrics of each class."""
        columns = [
            Column("class", "class"),
            Column("iou", "IoU", "%", digits=1, uncertainty="interval"),
            Column("boundary_f1", "boundary F1", "%", digits=1, uncertainty="interval"),
            Column("share", "of the pixels", "%", digits=2),
        ]
        rows: list[dict[str, Cell]] = [
            {"class": each.name, "iou": each.iou, "boundary_f1": each.boundary_f1, "share": each.share}
            for each in self.scores.by_class()
        ]
        return Table("Classes", columns, rows)

    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        return {
            "schema": SCHEMA,
            "task": SEGMENTATION.name,
            "source": self.source,
            "model": self.model,
            "data": {
                "name": self.data,
                "evaluated": self.evaluated,
                "images": len(self.scores.counts),
                "left_out": self.left_out,
            },
            "method": self.method,
            "commit": self.environment["commit"],
            "device": self.environment["device"],
            **{key: value and asdict(value) for key in METRICS for value in [self.scores.summary.get(key)]},
            "classes": [asdict(each) for each in self.scores.by_class()],
        }

    def page(self) -> Page:
        """The report."""
        facts = {"Weights": self.source, "Data": f"{self.data}: {self._images}", "Method": self.method}
        figure = ImageFigure(
            "From the worst to the best image",
            self.shown,
            "Image, truth, prediction and errors, in the colours above.",
        )
        images = [class_legend(self.scores.classes), error_legend(), figure]
        return Page(
            title=self.title,
            kicker=f"mixlab evaluate: {self.source}",
            summary=Summary(
                self.conclusion,
                f"Evaluated on: {self._images}. Intervals are over images and do not cover other trainings.",
                [Metric(METRICS[key][0], estimate, 1) for key, estimate in self.scores.summary.items()],
            ),
            sections=[
                Section("Classes", [self.class_table()]),
                *([Section("Images", images)] if self.shown else []),
                Section("Run details", [*self.notes, KeyValues(facts | machine_facts(self.environment))]),
            ],
            footer=written_by(self.environment["versions"]["mixlab"]),
        )


def evaluate_segmentation(
    source: str,
    data: str | None,
    *,
    overlap: float | None = None,
    device: str | None = None,
    quiet: bool,
) -> SegmentationEvaluation:
    """Evaluate the run of a segmentation in fp32.

    The other arguments are those of `mixlab.evaluation.model_evaluation.evaluate_model`, and of `ClassMapper`. Images
    that the weights have learned from are left out.

    Raises UserError if no images are left, if the data can't be read, or if they have classes that the model lacks.
    """
    prepared = prepare_evaluation(source, data, device=device, quiet=quiet)
    mapper = ClassMapper(Inference(prepared.network, prepared.device), prepared.image_preprocess, overlap)
    scored = score_split(
        mapper,
        prepared.dataset.splits["test"],
        prepared.dataset.classes,
        prepared.image_preprocess.value_range,
        max_unreadable=prepared.run.recipe["max_unreadable"] if prepared.run else 0,
        title=f"evaluate {source}",
        quiet=quiet,
    )
    return SegmentationEvaluation(
        source=source,
        model=prepared.model,
        data=prepared.dataset.name,
        evaluated=prepared.evaluated,
        method=_method(prepared, overlap),
        scores=scored.scores,
        shown=tuple(_shown(prepared, mapper, scored)),
        left_out=prepared.unseen.left_out,
        notes=_notes(prepared, scored.unreadable),
        environment=machine.describe(prepared.device),
    )


def _method(prepared: PreparedEvaluation, overlap: float | None) -> str:
    height, width = prepared.image_preprocess.image_size
    if overlap is None:
        return f"Images were stretched to {height} x {width} pixels, and the answers to the size of the images."
    return f"Images were processed in windows of {height} x {width} pixels, which overlap by at least {overlap:.0%}."


def _shown(prepared: PreparedEvaluation, mapper: ClassMapper, scored: ScoredSplit) -> list[ImagePanel]:
    split = prepared.dataset.splits["test"]
    masks, mious, evaluated = split.labels, scored.scores.image_mious(), scored.evaluated
    assert isinstance(masks, Masks)
    order = np.argsort(mious)  # NaN is last
    chosen = order[np.linspace(0, (~np.isnan(mious)).sum() - 1, min(_SHOWN, len(order))).round().astype(int)]
    panels = []
    for place in dict.fromkeys(chosen.tolist()):
        image = split.image(evaluated[place], prepared.image_preprocess.value_range)
        step = max(-(-image.shape[1] // _WIDTH), 1)
        truth, predicted = masks.read(evaluated[place]), mapper(image).astype(np.uint8)
        strip = error_strip(*(each[::step, ::step] for each in (image, truth, predicted)))
        name = split.names[evaluated[place]]
        panels.append(ImagePanel(f"{name}: {number(float(mious[place]), 1)} % mIoU", strip, name))
    return panels


def _notes(prepared: PreparedEvaluation, unreadable: dict[str, str]) -> tuple[str, ...]:
    skipped = (f"{image} was left out: {reason}." for image, reason in unreadable.items())
    return (*prepared.dataset.notes, *prepared.unseen.notes, *skipped)
