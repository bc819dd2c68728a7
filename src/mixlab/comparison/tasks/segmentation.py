"""Comparison of models for images with masks.

Axes:  image        of the test split
       class        of the data
       resample     bootstrap resamples of the images
       row, column  cells of a coarse grid over a mask
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int64, Real

from mixlab.comparison.tasks.classification import IMAGES, TRAIN_LONGER
from mixlab.comparison.tasks.compared_task import ComparedTask, SetMetric
from mixlab.comparison.trainings import Scores
from mixlab.data.dataset import Dataset, Split
from mixlab.data.mask_file import IGNORED
from mixlab.data.masks import Masks
from mixlab.errors import UserError
from mixlab.evaluation.class_maps import ClassMapper
from mixlab.report.page import Section
from mixlab.report.table import Cell, Column, Table
from mixlab.runs.folder import Run
from mixlab.speed.inference import Inference
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval_of_defined
from mixlab.stats.paired import crossed_interval
from mixlab.stats.undefined import mean_of_defined, ratio
from mixlab.tasks.segmentation import SEGMENTATION
from mixlab.tasks.segmentation_metrics import confusion_of, mean_iou, unions
from mixlab.weights.load import build_with_weights, load_pretrained

if TYPE_CHECKING:
    from mixlab.comparison.comparison import Comparison

_GRID = 32
"""Rows and columns of the grid on which classes are counted by position."""

ClassMap = Int64[np.ndarray, "row column"]


@dataclass(frozen=True, eq=False)
class MaskAnswers:
    """The pixels of each class in each image: in intersection and union of mask and prediction, and in the mask."""

    intersections: Int64[np.ndarray, "image class"]
    unions: Int64[np.ndarray, "image class"]
    true: Int64[np.ndarray, "image class"]


def answers(run: Run, dataset: Dataset, device: torch.device) -> tuple[MaskAnswers, Scores]:
    """The class of each pixel that a finished run predicts, at the size of the images, in fp32."""
    pretrained, split = load_pretrained(run.path), dataset.splits["test"]
    preprocess, classes = pretrained.image_preprocess, len(dataset.classes)
    mapper = ClassMapper(Inference(build_with_weights(pretrained.weights), device), preprocess)
    confusions = []
    for index in range(len(split)):
        predicted = mapper(split.image(index, preprocess.value_range))
        confusions.append(confusion_of(_mask(split, index)[None], predicted[None], classes)[0])
    of_images = np.stack(confusions)
    found = MaskAnswers(np.diagonal(of_images, axis1=1, axis2=2), unions(of_images), of_images.sum(axis=2))
    return found, mean_iou(of_images)


def mask_baselines(dataset: Dataset) -> dict[str, Estimate]:
    """The mean image mIoU in per cent of the most frequent class, of all pixels and of those at the same position.

    Raises UserError if no pixel of a test image is labelled.
    """
    train, test = dataset.merge_validation().splits["train"], dataset.splits["test"]
    counts = np.zeros((_GRID, _GRID, len(dataset.classes)), dtype=np.int64)
    rows, columns = np.indices((_GRID, _GRID))
    for index in range(len(train)):
        cells = _resized(_mask(train, index), (_GRID, _GRID))
        labelled = cells != IGNORED
        counts[rows[labelled], columns[labelled], cells[labelled]] += 1
    by_position, overall = counts.argmax(axis=2), int(counts.sum(axis=(0, 1)).argmax())
    scores: dict[str, list[float]] = {"majority class": [], "majority class by position": []}
    for index in range(len(test)):
        truth = _mask(test, index)
        if (truth == IGNORED).all():
            raise UserError(
                f"No pixel of the test image {test.names[index]} is labelled, so it can't be scored: correct its mask, "
                "or remove the image."
            )
        guesses = (np.full_like(truth, overall), _resized(by_position, truth.shape))
        for name, guess in zip(scores, guesses, strict=True):
            scores[name].append(float(SEGMENTATION.sample_score.of(guess[None], truth[None])[0]))
    return {name: crossed_interval(np.array([of_images])) for name, of_images in scores.items()}


def miou(found: MaskAnswers, times: Real[np.ndarray, "resample image"]) -> Float[np.ndarray, " resample"]:
    """In per cent, of the pixels of all images of a resample, over the classes in masks or predictions."""
    weights = times.astype(np.float64)
    return 100 * mean_of_defined(ratio(weights @ found.intersections, weights @ found.unions), axis=1)


def errors(comparison: "Comparison") -> Section:
    """The IoU of each class, as means over seeds."""
    chosen = comparison.chosen
    found: list[MaskAnswers] = [training.evaluation for training in chosen.trained]
    ious = np.stack([100 * ratio(one.intersections.sum(axis=0), one.unions.sum(axis=0)) for one in found])
    pixels, images = found[0].true.sum(axis=0), (found[0].true > 0).sum(axis=0)
    rows: list[dict[str, Cell]] = [
        {
            "class": name,
            "iou": mean_interval_of_defined(ious[:, index], "%", least=0, most=100),
            "share": float(100 * pixels[index] / pixels.sum()),
            "images": int(images[index]),
        }
        for index, name in enumerate(comparison.dataset.classes)
    ]
    columns = [
        Column("class", "class"),
        Column("iou", "IoU", "%", digits=1),
        Column("share", "labelled pixels", "%", digits=1),
        Column("images", "images"),
    ]
    note = f"IoU: of the pixels of all {comparison.test_samples}, mean over {comparison.seeds}."
    return Section(f"Errors of {chosen.name}", [Table("Classes", columns, rows, [note])])


def _mask(split: Split, index: int) -> ClassMap:
    masks = split.labels
    assert isinstance(masks, Masks)
    return masks.read(index).astype(np.int64)


def _resized(classes: ClassMap, size: tuple[int, ...]) -> ClassMap:
    """The class map at (rows, columns), by the nearest pixel."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64) for new, old in zip(size, classes.shape, strict=True)
    )
    return classes[rows[:, None], columns]


MASKS = ComparedTask(
    task=SEGMENTATION,
    models=IMAGES.models,
    baselines=mask_baselines,
    baseline_advice=TRAIN_LONGER,
    answers=answers,
    metric=SetMetric("miou", "mIoU", miou),
    settings_note="All models have the settings of the recipe segmentation, which were not tuned.",
    errors=errors,
)
