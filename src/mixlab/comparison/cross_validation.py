"""Cross-validation of linear heads: each image is predicted by a head that was not fitted or tuned on it or on a copy.

Axes:  image  an evaluated image, in the order of the data set
       class  in the order of the data set
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import softmax

from mixlab.data.dataset import Dataset, Split
from mixlab.data.folds import Round
from mixlab.errors import UserError
from mixlab.evaluation.evaluation import Evaluation, score
from mixlab.evaluation.probes.features import Features
from mixlab.evaluation.probes.ridge import FittedHead, fit_head


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The predictions of all rounds.

    labels         class indices
    round_of       the round in which each image was evaluated
    probabilities  from the head of that round
    heads          one for each round
    """

    labels: Int[np.ndarray, " image"]
    round_of: Int[np.ndarray, " image"]
    probabilities: Float[np.ndarray, "image class"]
    heads: tuple[FittedHead, ...]

    @property
    def correct(self) -> Bool[np.ndarray, " image"]:
        return self.probabilities.argmax(axis=1) == self.labels

    def evaluation(self, classes: tuple[str, ...]) -> Evaluation:
        """The predictions of all rounds together, for the classes of the data set."""
        return score(torch.from_numpy(self.probabilities).log(), torch.from_numpy(self.labels), classes)

    @property
    def top1_of_rounds(self) -> list[float]:
        """Accuracy of each round in per cent.

        The rounds share training images, so the spread of these values is not a standard error.
        """
        return [100 * float(self.correct[self.round_of == index].mean()) for index in range(len(self.heads))]


def variance_factor(folds: int) -> float:
    """By how much the variance over the images is multiplied, so that it includes the effect of other training images.

    The predictions of k folds are those of k heads that share training images. Nadeau and Bengio (2003, section 3)
    replace the variance 1 / k of a mean over k test sets by 1 / k + (test images) / (training images), which gives
    1 + k / (k - 1). For a single test split, which has no folds, the factor is 1.
    """
    return 1.0 if folds == 1 else 1 + folds / (folds - 1)


def require_every_class(dataset: Dataset, split: Split, rounds: Sequence[Round]) -> None:
    """Raises UserError if the training images of a round lack a class. `split` has the images of all rounds."""
    for each in rounds:
        counts = np.bincount(split.labels[each.train], minlength=len(dataset.classes))
        if not counts.all():
            noun, missing = dataset.noun, dataset.classes[int(counts.argmin())]
            raise UserError(
                f'{dataset.name} has too few different {noun}s of "{missing}" for separate training, validation and '
                f"test {noun}s in every fold: add {noun}s, or use more folds."
            )


def cross_validate(
    features: Features, rounds: Sequence[Round], classes: int, ridges: Sequence[float]
) -> CrossValidation:
    """Fit one head for each round and predict the test images of that round.

    features  of all images that the rounds index
    classes   number of classes
    ridges    candidate penalties; the validation images of a round select the penalty and the temperature
    """
    heads = [
        fit_head(_subset(features, split.train), _subset(features, split.validation), classes, ridges)
        for split in rounds
    ]
    probabilities = [
        softmax(fitted.head.logits(features.values[split.test]), axis=1)
        for fitted, split in zip(heads, rounds, strict=True)
    ]
    indices = np.concatenate([split.test for split in rounds])
    order = np.argsort(indices)
    round_of = np.repeat(np.arange(len(rounds)), [len(split.test) for split in rounds])
    return CrossValidation(
        labels=features.labels[indices[order]],
        round_of=round_of[order],
        probabilities=np.concatenate(probabilities)[order],
        heads=tuple(heads),
    )


def _subset(features: Features, indices: Int[np.ndarray, " index"]) -> Features:
    return Features(features.values[indices], features.labels[indices], {}, features.noun)
