"""The metrics of an evaluation: one function each, and `METRICS`, which every table, page and file follows.

The intervals need the counts of each class alone. With few images per class their coverage is below 95 %, see
docs/evaluate.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from mixlab.evaluation.calibration import (
    calibrated_ece,
    ece_equal_mass,
    ece_equal_width,
)
from mixlab.evaluation.evaluation import Evaluation
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval, mean_proportion_interval, proportion_interval


@dataclass(frozen=True)
class Metric:
    """A number that describes an evaluation.

    key       its name in results.json and CSV
    title     its name in tables
    value     the metric with its 95 % interval over images; None if it is not defined or says nothing
    meaning   one sentence for the report, with the noun of a sample for {noun}
    is_share  whether it is a share of images in per cent
    """

    key: str
    title: str
    value: Callable[[Evaluation], Estimate | None]
    meaning: str
    is_share: bool = True

    def sentence(self, noun: str) -> str:
        """What the metric is, for the notes of a table about samples that are called `noun`."""
        return f"{self.title[0].upper()}{self.title[1:]}: {self.meaning.format(noun=noun)}"


def topk(evaluation: Evaluation, k: int) -> Estimate:
    """The share of images with the true class among the `k` most probable classes, in per cent."""
    return proportion_interval(int((evaluation.ranks < k).sum()), len(evaluation))


def top1(evaluation: Evaluation) -> Estimate:
    """The accuracy in per cent."""
    return topk(evaluation, 1)


def top5(evaluation: Evaluation) -> Estimate | None:
    """Top-5 accuracy in per cent; None for at most five classes."""
    return topk(evaluation, 5) if len(evaluation.classes) > 5 else None


def balanced_accuracy(evaluation: Evaluation) -> Estimate:
    """The mean recall over the classes that have images, in per cent."""
    counts = _ClassCounts.of(evaluation)
    present = counts.images > 0
    return mean_proportion_interval(counts.correct[present], counts.images[present])


def macro_f1(evaluation: Evaluation) -> Estimate:
    """The mean F1 over the classes that have images or are predicted, in per cent.

    The interval is the score interval of a proportion (Wilson 1927) with the effective number of images: the number
    with which a proportion has the variance of the linearised metric (Korn and Graubard 1998).
    """
    counts = _ClassCounts.of(evaluation)
    total = counts.images + counts.predicted
    defined = total > 0
    f1 = 2 * counts.correct / np.maximum(total, 1)
    value = float(f1[defined].mean())
    weight = 1 / (defined.sum() * np.maximum(total, 1))  # of an image in the F1 of its class
    labels, predictions = evaluation.labels, evaluation.predictions
    influence = 2 * evaluation.correct * weight[labels] - (f1 * weight)[labels] - (f1 * weight)[predictions]
    images = counts.images[labels]
    variance = float((influence**2 * images / np.maximum(images - 1, 1)).sum())
    of_equal_images = weight[labels].sum() ** 2 / (weight[labels] ** 2).sum()  # without errors, all images are equal
    effective = float(min(value * (1 - value) / variance, len(evaluation)) if variance > 0 else of_equal_images)
    return replace(proportion_interval(value * effective, effective), n=len(evaluation))


def nll(evaluation: Evaluation) -> Estimate:
    """The mean negative log-likelihood of the true class in nats, which is the cross-entropy."""
    return mean_interval(evaluation.nll, "nats", least=0)


def brier(evaluation: Evaluation) -> Estimate:
    """The mean squared distance of the probabilities from the one-hot label, from 0 to 2 (Brier 1950)."""
    return mean_interval(evaluation.brier, "", least=0, most=2)


METRICS = (
    Metric("top1", "top-1", top1, "the share of {noun}s whose most probable class is the true one."),
    Metric("top5", "top-5", top5, "the share of {noun}s with the true class among the five most probable ones."),
    Metric("balanced_accuracy", "balanced accuracy", balanced_accuracy, "the mean of the recalls of all classes."),
    Metric("macro_f1", "macro-F1", macro_f1, "the mean of the F1 of all classes."),
    Metric(
        "nll",
        "negative log-likelihood, nats",
        nll,
        "the mean of -log(probability of the true class).",
        is_share=False,
    ),
    Metric(
        "brier",
        "Brier score",
        brier,
        "the mean squared distance of the probabilities from the true class, 0 to 2.",
        is_share=False,
    ),
    Metric(
        "ece",
        "ECE, bins of equal width, points",
        ece_equal_width,
        "the mean difference of accuracy and confidence in 15 bins.",
        is_share=False,
    ),
    Metric(
        "ece_mass",
        "ECE, bins of equal mass, points",
        ece_equal_mass,
        "the same with equally many {noun}s in every bin.",
        is_share=False,
    ),
    Metric(
        "ece_calibrated",
        "ECE of a calibrated model, points",
        calibrated_ece,
        "what a perfectly calibrated model with the same confidences shows by chance, in bins of equal mass.",
        is_share=False,
    ),
)
"""All metrics, in the order of tables and reports. To add one, write its function and add it here."""


def summary(evaluation: Evaluation) -> dict[Metric, Estimate]:
    """The metrics that are defined for `evaluation`, in the order of `METRICS`."""
    values = {metric: metric.value(evaluation) for metric in METRICS}
    return {metric: value for metric, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ClassEvaluation:
    """The metrics of one class in per cent.

    images     number of images of the class
    precision  None if the class is never predicted
    recall     None if the class has no images
    f1         None if the class has no images and is never predicted
    """

    name: str
    images: int
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None


def by_class(evaluation: Evaluation) -> list[ClassEvaluation]:
    """The metrics of each class, in the order of the classes."""
    counts = _ClassCounts.of(evaluation)
    columns = (counts.correct.tolist(), counts.images.tolist(), counts.predicted.tolist())
    return [
        ClassEvaluation(
            name,
            images,
            precision=_share(correct, predicted),
            recall=_share(correct, images),
            f1=_f1(correct, images, predicted),
        )
        for name, correct, images, predicted in zip(evaluation.classes, *columns, strict=True)
    ]


@dataclass(frozen=True)
class _ClassCounts:
    correct: Int64[np.ndarray, " class"]
    images: Int64[np.ndarray, " class"]
    predicted: Int64[np.ndarray, " class"]

    @staticmethod
    def of(evaluation: Evaluation) -> "_ClassCounts":
        classes = len(evaluation.classes)
        indices = (evaluation.labels[evaluation.correct], evaluation.labels, evaluation.predictions)
        return _ClassCounts(*(np.bincount(each, minlength=classes) for each in indices))


def _share(numerator: int, denominator: int) -> Estimate | None:
    return proportion_interval(numerator, denominator) if denominator else None


def _f1(correct: int, images: int, predicted: int) -> Estimate | None:
    """F1 with an interval.

    Let j be the share of correct images among those that belong to the class or are predicted as it (the Jaccard
    index). Then F1 = 2j / (1 + j), which increases with j, so the ends of the interval of j map to those of F1.
    """
    share = _share(correct, images + predicted - correct)
    if share is None:
        return None
    assert share.low is not None and share.high is not None  # a Wilson interval has both ends
    value, low, high = (200 * j / (100 + j) for j in (share.value, share.low, share.high))
    return replace(share, value=value, low=low, high=high)
