"""Random features of several classes."""

from collections.abc import Callable

import numpy as np
import pytest

from mixlab.evaluation.probes.features import Features

MakeBlobs = Callable[..., Features]


@pytest.fixture
def blobs() -> MakeBlobs:
    """Features of classes with random centres; `noise` is the standard deviation around a centre."""

    def make(images: int, classes: int = 3, channels: int = 6, noise: float = 0.7, seed: int = 1) -> Features:
        centres = np.random.default_rng(0).normal(size=(classes, channels))
        random = np.random.default_rng(seed)
        labels = random.permutation(np.arange(images) % classes)
        values = 3 * (centres[labels] + noise * random.normal(size=(images, channels))) + 20
        return Features(values.astype(np.float32), labels, {})

    return make
