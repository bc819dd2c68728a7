"""Evaluate a segmentation on images that it was not trained on, at the size of these images."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mixlab.data.masks import Masks
from mixlab.evaluation.class_maps import ClassMapper
from mixlab.evaluation.prepare import PreparedEvaluation, prepare_evaluation
from mixlab.evaluation.segmentation_metrics import METRICS, SegmentationScores
from mixlab.evaluation.segmentation_scoring import ScoredSplit, score_split
from mixlab.evaluation.subject import EvaluationSubject, subject_of
from mixlab.report.image_panels import ImageFigure, ImagePanel
from mixlab.report.masks import class_legend, error_legend, error_strip
from mixlab.report.numbers import number
from mixlab.report.page import Page, Section
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import join_words
from mixlab.speed.inference import Inference
from mixlab.stats.estimate import Estimate
from mixlab.tasks.segmentation import SEGMENTATION

_SHOWN = 6
"""Images on the page, from the worst to the best mIoU."""
_WIDTH = 240
"""Pixels of each part of a shown image on the page, at most."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SegmentationEvaluation:
    """The predicted masks of a model for images that it was not trained on, as counts of pixels.

    method  how the images were given to the model, in words
    shown   some images with their truth, prediction and errors
    """

    subject: EvaluationSubject
    method: str
    scores: SegmentationScores
    shown: tuple[ImagePanel, ...]

    @property
    def conclusion(self) -> str:
        """The metrics in a sentence."""
        values = [f"{number(value.value, 1)} % {title}" for title, value in self._measures.items()]
        return f"{self.subject.model} reaches {join_words(values)}."

    @property
    def _measures(self) -> dict[str, Estimate]:
        return {METRICS[key][0]: estimate for key, estimate in self.scores.summary.items()}

    def tables(self) -> list[Table]:
        """The human-readable tables."""
        notes = [
            f"Evaluated on: {self.subject.samples}. {self.method}",
            "Brackets are 95 % bootstrap intervals over images; they do not cover other trainings, and images of one "
            "video are more alike than they assume.",
            *(f"{title}: {meaning}" for title, meaning in METRICS.values()),
        ]
        return [self.subject.table(self._measures, notes), self.class_table()]

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
            **self.subject.results(SEGMENTATION.name),
            "method": self.method,
            **{key: value and asdict(value) for key in METRICS for value in [self.scores.summary.get(key)]},
            "classes": [asdict(each) for each in self.scores.by_class()],
        }

    def page(self) -> Page:
        """The report."""
        figure = ImageFigure(
            "From the worst to the best image",
            self.shown,
            "Image, truth, prediction and errors, in the colours above.",
        )
        images = [class_legend(self.scores.classes), error_legend(), figure]
        return self.subject.page(
            self.conclusion,
            "Intervals are over images and do not cover other trainings.",
            self._measures,
            [Section("Classes", [self.class_table()]), *([Section("Images", images)] if self.shown else [])],
            {"Method": self.method},
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
        subject=subject_of(prepared, len(scored.evaluated), scored.unreadable),
        method=_method(prepared, overlap),
        scores=scored.scores,
        shown=tuple(_shown(prepared, mapper, scored)),
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
