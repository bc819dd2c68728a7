"""Is a method more accurate than another one, or equally accurate? Both were evaluated on the same images.

Axes:  seed   one run of a method
       image  an evaluated image, in the order of the image names
"""

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from mixlab.errors import UserError
from mixlab.evaluation.predictions import Predictions, check_same_set, most_detailed
from mixlab.stats.components import image_sample, variance_components
from mixlab.stats.equivalence import Equivalence, crossed_equivalence
from mixlab.stats.paired import (
    Difference,
    crossed_bootstrap,
    crossed_t,
    detectable_difference,
    holm,
    paired_p,
)
from mixlab.stats.sample_size import PairNeeded, needed_for_equivalence, needed_for_significance

SIGNIFICANCE_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class ClassDifference:
    """The difference of the recalls of one class, a minus b.

    images      number of images of the class
    difference  in percentage points, with the interval of this class alone; None for a class with too few images
    p_holm      adjusted for all classes that have enough images; None for a class with too few
    """

    name: str
    images: int
    difference: Difference | None
    p_holm: float | None


@dataclass(frozen=True, slots=True)
class ChangedImage:
    """An image that most runs of one method classify correctly and most runs of the other one do not.

    name, label           None if neither method has them
    share_a, share_b      the share of the runs that are correct, from 0 to 1
    predicted_a, _b       the predicted class if the method has one run; None if it has several, or if it is unknown
    """

    name: str | None
    label: str | None
    share_a: float
    share_b: float
    predicted_a: str | None
    predicted_b: str | None


@dataclass(frozen=True, eq=False)
class PairedComparison:
    """The result of `compare_predictions`. Differences are a minus b, in percentage points.

    margin              the largest difference that is irrelevant in practice
    difference          of the accuracies, by the crossed bootstrap over images and runs
    mcnemar_p           of the exact McNemar test; None if a method has several runs
    equivalence         evidence that the difference is within the margin
    significance_needed runs or images that would show a difference of the observed size
    equivalence_needed  runs or images that would show equivalence
    """

    a: Predictions
    b: Predictions
    margin: float
    difference: Difference
    mcnemar_p: float | None
    equivalence: Equivalence
    significance_needed: PairNeeded
    equivalence_needed: PairNeeded

    @property
    def names(self) -> tuple[str, str]:
        """The names of both methods; numbered if they are equal."""
        if self.a.model == self.b.model:
            return f"{self.a.model} (1)", f"{self.b.model} (2)"
        return self.a.model, self.b.model

    @property
    def noun(self) -> str:
        """What a sample is, for sentences."""
        return self.a.noun

    @property
    def p(self) -> float:
        """Of equal accuracies: the exact McNemar test with one run each, else the crossed bootstrap."""
        return self.difference.p if self.mcnemar_p is None else self.mcnemar_p

    @property
    def is_significant(self) -> bool:
        return self.p < SIGNIFICANCE_LEVEL

    @property
    def detectable(self) -> float:
        """The smallest true difference that a comparison of this size detects with a probability of 80 %."""
        return detectable_difference(self.difference.standard_error, self.difference.degrees_of_freedom, comparisons=1)

    @cached_property
    def only_a(self) -> tuple[ChangedImage, ...]:
        """The images that only a classifies correctly, in the order of their names."""
        return self._changed(_majority(self.a.correct) & _majority(~self.b.correct))

    @cached_property
    def only_b(self) -> tuple[ChangedImage, ...]:
        """The images that only b classifies correctly, in the order of their names."""
        return self._changed(_majority(~self.a.correct) & _majority(self.b.correct))

    @cached_property
    def classes(self) -> tuple[ClassDifference, ...]:
        """Every class that has images, by adjusted p-value; empty if neither method has labels."""
        labelled = most_detailed((self.a, self.b))
        if labelled.labels is None or labelled.classes is None:
            return ()
        return _class_differences(self.a, self.b, labelled.labels, labelled.classes)

    def to_dict(self) -> dict[str, Any]:
        """The entry of this comparison in results.json."""
        difference = asdict(self.difference) | {"standard_error": self.difference.standard_error}
        return {
            "a": _method(self.a),
            "b": _method(self.b),
            "data": self.a.data,
            "images": self.a.images,
            "fingerprint": self.a.fingerprint,
            "difference": difference,
            "mcnemar_p": self.mcnemar_p,
            "equivalence": asdict(self.equivalence),
            "detectable": self.detectable,
            "needed": {
                "significance": asdict(self.significance_needed),
                "equivalence": asdict(self.equivalence_needed),
            },
            "only_a": [asdict(image) for image in self.only_a],
            "only_b": [asdict(image) for image in self.only_b],
            "classes": [asdict(each) for each in self.classes],
        }

    def _changed(self, selected: Bool[np.ndarray, " image"]) -> tuple[ChangedImage, ...]:
        named = most_detailed((self.a, self.b))
        return tuple(
            ChangedImage(
                name=None if named.names is None else named.names[index],
                label=_class_name(named, named.labels, index),
                share_a=float(self.a.correct[:, index].mean()),
                share_b=float(self.b.correct[:, index].mean()),
                predicted_a=_prediction(self.a, index),
                predicted_b=_prediction(self.b, index),
            )
            for index in np.flatnonzero(selected).tolist()
        )


def check_margin(margin: float) -> None:
    """Raises UserError if `margin` is not in (0, 100)."""
    if not 0 < margin < 100:
        raise UserError(
            f"--margin {margin:g} is out of range: it must be above 0 and below 100 percentage points, for example 1."
        )


def compare_predictions(a: Predictions, b: Predictions, margin: float) -> PairedComparison:
    """Compare two methods image by image.

    a, b:    with one or several runs each, see `predictions_of_run`, `stack_runs` and `read_correctness`.
    margin:  for equivalence, in percentage points: the largest difference that is irrelevant in practice. Choose it
             before the comparison.

    With one run of each method, the result is about these two trainings: it holds for other images, not for other
    trainings. Raises UserError if the images or labels are different, or if there are fewer than two images.
    """
    check_same_set(a, b)
    if a.images < 2:
        raise UserError(
            f"{a.data} has one {a.noun}: a comparison needs at least two, and several hundred to be useful."
        )
    components = variance_components((a.correct, b.correct), image_sample((a.correct, b.correct)))
    return PairedComparison(
        a,
        b,
        margin,
        difference=crossed_bootstrap(a.correct, b.correct),
        mcnemar_p=paired_p(a.correct, b.correct) if a.runs == b.runs == 1 else None,
        equivalence=crossed_equivalence(a.correct, b.correct, margin),
        significance_needed=needed_for_significance(components),
        equivalence_needed=needed_for_equivalence(components, margin),
    )


def fewest_class_images(classes: int) -> int:
    """The number of images with which a class can be significant after Holm's adjustment for so many classes.

    With n images, the smallest p-value of the exact McNemar test is 2^(1-n). With fewer images, even a class on which
    the methods differ in every image would not be significant, so that it is not tested (Tarone, 1990).
    """
    return math.floor(1 + math.log2(classes / SIGNIFICANCE_LEVEL)) + 1


def _class_differences(
    a: Predictions, b: Predictions, labels: Int[np.ndarray, " image"], classes: tuple[str, ...]
) -> tuple[ClassDifference, ...]:
    present, counts = np.unique(labels, return_counts=True)
    fewest = fewest_class_images(len(present))
    tested, too_few = [], []
    for label, images in zip(present.tolist(), counts.tolist(), strict=True):
        if images < fewest:
            too_few.append(ClassDifference(classes[label], images, None, None))
            continue
        correct_a, correct_b = a.correct[:, labels == label], b.correct[:, labels == label]
        p = paired_p(correct_a, correct_b)
        tested.append(ClassDifference(classes[label], images, crossed_t(correct_a, correct_b), p))
    adjusted = holm([each.p_holm for each in tested])
    differences = [replace(each, p_holm=p) for each, p in zip(tested, adjusted, strict=True)]
    return (*sorted(differences, key=lambda each: (each.p_holm, each.name)), *too_few)


def _majority(correct: Bool[np.ndarray, "seed image"]) -> Bool[np.ndarray, " image"]:
    return correct.mean(axis=0) > 0.5


def _method(predictions: Predictions) -> dict[str, Any]:
    top1 = 100 * predictions.correct.mean(axis=1)
    return {"model": predictions.model, "runs": predictions.runs, "top1": top1.tolist()}


def _class_name(predictions: Predictions, indices: Int[np.ndarray, " image"] | None, index: int) -> str | None:
    if indices is None or predictions.classes is None:
        return None
    return predictions.classes[indices[index]]


def _prediction(predictions: Predictions, index: int) -> str | None:
    if predictions.predicted is None or predictions.runs > 1:
        return None
    return _class_name(predictions, predictions.predicted[0], index)
