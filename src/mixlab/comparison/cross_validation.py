"""Every image answered by a head in closed form that saw neither it nor a copy of it, nor chose settings on one.

Axes:  image  one that is judged, in the order of the set
       class    in the dataset's order
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import softmax

from mixlab.data.folds import Round
from mixlab.evaluation.metrics import confusion_matrix
from mixlab.evaluation.probes.features import Features
from mixlab.evaluation.probes.ridge import FittedHead, fit_head


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """`heads`: one a round."""

    labels: Int[np.ndarray, " image"]
    round_of: Int[np.ndarray, " image"]
    probabilities: Float[np.ndarray, "image class"]
    heads: tuple[FittedHead, ...]

    @property
    def correct(self) -> Bool[np.ndarray, " image"]:
        return self.probabilities.argmax(axis=1) == self.labels

    @property
    def confusion(self) -> Int[np.ndarray, "class class"]:
        return confusion_matrix(self.labels, self.probabilities.argmax(axis=1), self.probabilities.shape[1])

    @property
    def top1_of_rounds(self) -> list[float]:
        """Per cent, one a round. Rounds share training images: the spread of these is no standard error."""
        return [100 * float(self.correct[self.round_of == each].mean()) for each in range(len(self.heads))]


def cross_validate(seen: Features, rounds: Sequence[Round], classes: int, ridges: Sequence[float]) -> CrossValidation:
    """In each round the head is fitted on its training images, and its validation chooses ridge and temperature."""
    heads = [fit_head(_of(seen, each.train), _of(seen, each.validation), classes, ridges) for each in rounds]
    probabilities = [
        softmax(recommendation_summary.head.logits(seen.values[each.test]), axis=1)
        for recommendation_summary, each in zip(heads, rounds, strict=True)
    ]
    places = np.concatenate([each.test for each in rounds])
    order = np.argsort(places)
    round_of = np.repeat(np.arange(len(rounds)), [len(each.test) for each in rounds])
    return CrossValidation(
        labels=seen.labels[places[order]],
        round_of=round_of[order],
        probabilities=np.concatenate(probabilities)[order],
        heads=tuple(heads),
    )


def _of(seen: Features, places: Int[np.ndarray, " place"]) -> Features:
    return Features(seen.values[places], seen.labels[places], {})
