"""The misclassified images with the highest predicted probability."""

import numpy as np
from jaxtyping import Float

from mixlab.data.dataset import Split
from mixlab.report.image_grid import ConfidentError

MAX_ERRORS = 12


def most_confident_errors(
    split: Split, classes: tuple[str, ...], probabilities: Float[np.ndarray, "image class"]
) -> list[ConfidentError]:
    """At most `MAX_ERRORS` misclassified images, the most confident first.

    split          the evaluated images
    classes        class names, in the order of the probabilities
    probabilities  predictions for the images of `split`
    """
    predictions = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predictions != split.labels)
    most_confident = wrong[np.argsort(-probabilities[wrong, predictions[wrong]], kind="stable")][:MAX_ERRORS]
    return [
        ConfidentError(
            image=split.image(index),
            name=split.names[index],
            true=classes[split.labels[index]],
            predicted=classes[predictions[index]],
            probability=float(probabilities[index, predictions[index]]),
        )
        for index in most_confident
    ]
