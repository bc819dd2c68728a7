"""Predictions with known accuracies, for tests of paired comparisons."""

import numpy as np

from mixlab.evaluation.predictions import Predictions, predictions_of_run, stack_runs

CLASSES = ("cat", "cow", "dog", "owl")
DATA = "pets"


def run(
    model: str,
    wrong: list[int],
    *,
    images: int = 60,
    classes: tuple[str, ...] = CLASSES,
    prefix: str = "image",
) -> Predictions:
    """A run on "image00000", "image00001", ... with labels 0, 1, 2, 3, 0, ...; `wrong` are its errors."""
    labels = np.arange(images) % len(classes)
    predicted = labels.copy()
    predicted[wrong] = (labels[wrong] + 1) % len(classes)
    names = [f"{prefix}{index:05}" for index in range(images)]
    return predictions_of_run(model, DATA, names=names, classes=classes, labels=labels, predicted=predicted)


def random_method(model: str, accuracy: float, *, runs: int, seed: int, images: int = 600) -> Predictions:
    """A method with several runs of about this accuracy, a fraction."""
    rng = np.random.default_rng(seed)
    wrong = [np.flatnonzero(rng.random(images) > accuracy).tolist() for _ in range(runs)]
    return stack_runs(model, [run(model, each, images=images) for each in wrong])
