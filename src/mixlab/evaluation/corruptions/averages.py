"""Averages over corruptions, as the papers define them. All numbers are in per cent.

`errors` maps each kind of `KINDS` to the top-1 errors at severities 1 to 5.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval

ALEXNET_ERRORS = {
    "gaussian_noise": 88.6428,
    "shot_noise": 89.4468,
    "impulse_noise": 92.2640,
    "defocus_blur": 81.9880,
    "glass_blur": 82.6268,
    "motion_blur": 78.5948,
    "zoom_blur": 79.8360,
    "snow": 86.6816,
    "frost": 82.6572,
    "fog": 81.9324,
    "brightness": 56.4592,
    "contrast": 85.3204,
    "elastic_transform": 64.6056,
    "pixelate": 71.7840,
    "jpeg_compression": 60.6500,
}
"""AlexNet's mean error over the severities on the published ImageNet-C, by which mCE is normalised.

Measured by Hendrycks and Dietterich 2019; the values are those of imagenet.py in google-research/augmix.
"""


def mean_corruption_error(errors: Mapping[str, Sequence[float]]) -> float:
    """The mean error over severities and kinds, as it is reported for CIFAR-10-C; "unnormalised mCE" for ImageNet-C."""
    return float(np.mean([float(np.mean(by_severity)) for by_severity in errors.values()]))


def relative_to_alexnet(errors: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The corruption error CE of each kind: its mean error, divided by that of AlexNet."""
    return {kind: 100 * float(np.mean(by_severity)) / ALEXNET_ERRORS[kind] for kind, by_severity in errors.items()}


def mce(errors: Mapping[str, Sequence[float]]) -> float:
    """mCE: the mean of the 15 corruption errors, each relative to AlexNet, which has 100 %.

    Hendrycks and Dietterich 2019, section 4.2. It is that of the paper only for errors on the published images of
    ImageNet-C, all 50,000 of each kind and severity: AlexNet's errors are for these. For images that mixlab corrupts it
    is an approximation.
    """
    return float(np.mean([relative_to_alexnet(errors)[kind] for kind in ALEXNET_ERRORS]))


def corruption_accuracy(correct: Bool[np.ndarray, "corruption image"]) -> Estimate:
    """The mean accuracy over corruptions, with a 95 % interval.

    correct  whether each image was classified correctly, with one row for each kind and severity

    The same images are corrupted in all ways, so that the interval is that of a mean over images.
    """
    return mean_interval(100 * correct.mean(axis=0), "%", least=0, most=100)
