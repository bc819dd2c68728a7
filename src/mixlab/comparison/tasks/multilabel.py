"""Comparison of models for images with several labels.

Axes:  image, label  of the test split
       resample      bootstrap resamples of the images
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Real

from mixlab.comparison.tasks.classification import IMAGES, TRAIN_LONGER
from mixlab.comparison.tasks.compared_task import ComparedTask, SetMetric
from mixlab.comparison.trainings import Scores
from mixlab.data.batches import EvalBatches
from mixlab.data.dataset import Dataset
from mixlab.evaluation.baselines import nearest_neighbour, small_pixels
from mixlab.evaluation.evaluate import BATCH
from mixlab.evaluation.multilabel_scoring import label_probabilities
from mixlab.report.page import Section
from mixlab.report.table import Cell, Column, Table
from mixlab.runs.folder import Run
from mixlab.speed.inference import Inference
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval_of_defined
from mixlab.stats.paired import crossed_interval
from mixlab.stats.undefined import mean_of_defined
from mixlab.tasks.multilabel import MULTILABEL
from mixlab.tasks.multilabel_metrics import (
    DEFAULT_THRESHOLD,
    average_precision,
    average_precisions,
    confusion_counts,
    f1,
)
from mixlab.weights.load import build_with_weights, load_pretrained

if TYPE_CHECKING:
    from mixlab.comparison.comparison import Comparison


@dataclass(frozen=True, eq=False)
class LabelAnswers:
    """The probabilities of all labels for the test images, and which labels these have."""

    probabilities: Float32[np.ndarray, "image label"]
    truth: Bool[np.ndarray, "image label"]

    @property
    def predicted(self) -> Bool[np.ndarray, "image label"]:
        return self.probabilities >= DEFAULT_THRESHOLD


def answers(run: Run, dataset: Dataset, device: torch.device) -> tuple[LabelAnswers, Scores]:
    """The labels that a finished run predicts from a probability of 0.5 on, in fp32."""
    pretrained, split = load_pretrained(run.path), dataset.splits["test"]
    inference = Inference(build_with_weights(pretrained.weights), device)
    batches = EvalBatches(split, pretrained.preprocess, batch=BATCH, workers=0, max_unreadable=0, quiet=True)
    found = LabelAnswers(np.concatenate(list(label_probabilities(inference, split, batches))), split.labels)
    return found, MULTILABEL.sample_score.of(found.predicted, found.truth)


def label_baselines(dataset: Dataset) -> dict[str, Estimate]:
    """The mean image F1 in per cent of the most frequent labels, and of those of the nearest neighbour.

    The most frequent labels are the combination that most training images have.
    """
    merged = dataset.merge_validation()
    train, test = merged.splits["train"], merged.splits["test"]
    ((combination, _),) = Counter(map(tuple, train.labels.tolist())).most_common(1)
    pixels = small_pixels(train.concat(test))
    predicted = {
        "most frequent labels": np.tile(np.array(combination), (len(test), 1)),
        "1-nearest neighbour": nearest_neighbour(pixels[: len(train)], train.labels, pixels[len(train) :]),
    }
    return {
        name: crossed_interval(MULTILABEL.sample_score.of(labels.astype(bool), test.labels)[None])
        for name, labels in predicted.items()
    }


def mean_average_precision(
    found: LabelAnswers, times: Real[np.ndarray, "resample image"]
) -> Float[np.ndarray, " resample"]:
    """In per cent, over the labels that occur in a resample; NaN without any."""
    columns = zip(found.probabilities.T, found.truth.T, strict=True)
    of_labels = np.stack([average_precision(*column, times) for column in columns if column[1].any()])
    return 100 * mean_of_defined(of_labels, axis=0)


def errors(comparison: "Comparison") -> Section:
    """The metrics of each label, as means over seeds."""
    chosen, classes = comparison.chosen, comparison.dataset.classes
    found: list[LabelAnswers] = [training.evaluation for training in chosen.trained]
    truth = found[0].truth
    precisions = [100 * average_precisions(one.probabilities, truth) for one in found]
    f1_values = [100 * f1(*confusion_counts(one.predicted, truth)) for one in found]
    rows: list[dict[str, Cell]] = [
        {
            "label": name,
            "average_precision": mean_interval_of_defined(
                (values[index] for values in precisions), "%", least=0, most=100
            ),
            "f1": mean_interval_of_defined((values[index] for values in f1_values), "%", least=0, most=100),
            "images": int(truth[:, index].sum()),
            "predicted": float(np.mean([one.predicted[:, index].sum() for one in found])),
        }
        for index, name in enumerate(classes)
    ]
    columns = [
        Column("label", "label"),
        Column("average_precision", "average precision", "%", digits=1),
        Column("f1", "F1", "%", digits=1),
        Column("images", "images"),
        Column("predicted", "predicted", digits=1),
    ]
    notes = [
        f"Means over {comparison.seeds}, on {comparison.test_samples}. A label is predicted from a probability of "
        f"{DEFAULT_THRESHOLD:g} on; `mixlab train` chooses a threshold for each label on validation images.",
    ]
    return Section(f"Errors of {chosen.name}", [Table("Labels", columns, rows, notes)])


LABELS = ComparedTask(
    task=MULTILABEL,
    models=IMAGES.models,
    baselines=label_baselines,
    baseline_advice=TRAIN_LONGER,
    answers=answers,
    metric=SetMetric("mAP", "mAP", mean_average_precision),
    settings_note="The settings of the recipes were tuned for images with one class, on the digits.",
    errors=errors,
)
