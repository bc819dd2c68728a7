"""The images that a model was most confidently wrong about."""

import numpy as np
from jaxtyping import Float

from mixlab.data.dataset import Split
from mixlab.report.image_grid import ConfidentError

MAX_ERRORS = 12


def most_confident_errors(
    split: Split, classes: tuple[str, ...], probabilities: Float[np.ndarray, "image class"]
) -> list[ConfidentError]:
    """At most `MAX_ERRORS`, the surest first."""
    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != split.labels)
    surest = wrong[np.argsort(-probabilities[wrong, answers[wrong]], kind="stable")][:MAX_ERRORS]
    return [
        ConfidentError(
            image=split.image(image),
            name=split.names[image],
            true=classes[split.labels[image]],
            predicted=classes[answers[image]],
            probability=float(probabilities[image, answers[image]]),
        )
        for image in surest
    ]
