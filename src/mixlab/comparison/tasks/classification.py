"""Comparison of models for images with one class."""

from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from scipy.sparse import csr_array

from mixlab.comparison.recommendation_page import errors_section
from mixlab.comparison.tasks.compared_task import ComparedTask
from mixlab.comparison.trainings import classify
from mixlab.data.dataset import Dataset
from mixlab.evaluation.baselines import baselines
from mixlab.report.page import Section
from mixlab.stats.estimate import Estimate
from mixlab.tasks.classification import CLASSIFICATION

if TYPE_CHECKING:
    from mixlab.comparison.comparison import Comparison, ModelResult

TRAIN_LONGER = "train longer before you choose a model"


def image_baselines(dataset: Dataset) -> dict[str, Estimate]:
    """The accuracy in per cent of the majority class and of the nearest neighbour among all training images."""
    merged = dataset.merge_validation()
    return baselines(merged.splits["train"], merged.splits["test"])


def errors(comparison: "Comparison") -> Section:
    """The confusion matrix over all seeds, and the most confident errors with the first seed."""
    chosen = comparison.chosen
    return errors_section(
        chosen.name,
        comparison.dataset.splits["test"],
        chosen.trained[0].evaluation,
        summed_confusion(chosen),
        trainings=comparison.settings.seeds,
        counted=f"Predictions of {comparison.seeds}, summed,",
        predicted="With the first seed",
    )


def summed_confusion(result: "ModelResult") -> csr_array:
    """The sum of the confusion matrices of all seeds."""
    return reduce(add, (training.evaluation.confusion for training in result.trained))


IMAGES = ComparedTask(
    task=CLASSIFICATION,
    models=("mixer_nano", "convmixer_nano", "davit_nano", "resnet_nano", "vit_nano"),
    baselines=image_baselines,
    baseline_advice=TRAIN_LONGER,
    answers=classify,
    metric=None,
    settings_note="",
    errors=errors,
)
