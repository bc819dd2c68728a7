"""The images that a model was most confidently wrong about."""

import numpy as np
from jaxtyping import Float

from mixlab.data.dataset import Part
from mixlab.report.image_grid import Mistake

MOST = 12


def surest_mistakes(
    part: Part, classes: tuple[str, ...], probabilities: Float[np.ndarray, "image class"]
) -> list[Mistake]:
    """At most `MOST`, the surest first."""
    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != part.labels)
    surest = wrong[np.argsort(-probabilities[wrong, answers[wrong]], kind="stable")][:MOST]
    return [
        Mistake(
            image=part.image(image),
            name=part.names[image],
            true=classes[part.labels[image]],
            predicted=classes[answers[image]],
            probability=float(probabilities[image, answers[image]]),
        )
        for image in surest
    ]
