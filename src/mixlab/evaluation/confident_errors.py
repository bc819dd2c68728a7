"""The images to look at: the errors with the highest predicted probability, and the least certain images."""

import numpy as np
from jaxtyping import Int64

from mixlab.data.dataset import Split
from mixlab.data.decoding import shown_image
from mixlab.evaluation.evaluation import Evaluation
from mixlab.report.image_grid import ConfidentError

MAX_IMAGES = 12


def most_confident_errors(split: Split, evaluation: Evaluation) -> list[ConfidentError]:
    """At most 12 misclassified images of `split`, the most confident first."""
    return _images(split, evaluation, confident_wrong(evaluation))


def confident_wrong(evaluation: Evaluation) -> Int64[np.ndarray, " wrong"]:
    """The indices of at most 12 wrong predictions, the most confident first."""
    wrong = np.flatnonzero(~evaluation.correct)
    order = np.argsort(-evaluation.confidences[wrong], kind="stable")
    return wrong[order][:MAX_IMAGES]


def least_certain(split: Split, evaluation: Evaluation) -> list[ConfidentError]:
    """At most 12 images of `split`, correct or not: those with the lowest predicted probability, the lowest first."""
    return _images(split, evaluation, np.argsort(evaluation.confidences, kind="stable")[:MAX_IMAGES])


def _images(split: Split, evaluation: Evaluation, indices: np.ndarray) -> list[ConfidentError]:
    return [
        ConfidentError(
            image=shown_image(split, index),
            name=split.names[index],
            true=evaluation.classes[evaluation.labels[index]],
            predicted=evaluation.classes[evaluation.predictions[index]],
            probability=float(evaluation.confidences[index]),
        )
        for index in indices
    ]
