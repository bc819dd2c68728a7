"""The mean difference of two models over several test sets."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from mixlab.stats.components import Correctness, Sample, accuracies
from mixlab.stats.crossed import crossed_difference
from mixlab.stats.estimate import TAIL
from mixlab.stats.paired import Difference


def mean_difference(sets: Sequence[tuple[Correctness, Correctness]]) -> Difference:
    """The mean over the sets of the accuracy of model a minus that of model b, for these sets.

    sets: for each set, (seed, image) whether each training of a, and of b, classified each image correctly. The sets
          have no images in common. Either run i is the same training in every set, or all trainings are different.

    Sets weigh the same, whatever their size. The interval covers other images of these sets and other trainings, not
    other sets. The errors of a training that is evaluated on several sets are correlated, so that the variance over
    seeds is that of the means over the sets of the single trainings; with different trainings it is the same on
    average. If the numbers of trainings differ between the sets, they must be different trainings.
    """
    crossed = [crossed_difference(a, b) for a, b in sets]
    weight = len(sets) ** 2
    images = [(each.image_uncertainty / weight, each.images.degrees_of_freedom) for each in crossed]
    seeds = [part for model in zip(*sets, strict=True) for part in _seed_parts([accuracies(each) for each in model])]
    value = sum(each.value for each in crossed) / len(sets)
    image_variance = sum(each.image_variance for each in crossed) / weight
    seed_variance = sum(variance for variance, _ in seeds)
    error = math.sqrt(image_variance + seed_variance)
    freedom = max(error**4 / sum(variance**2 / degrees for variance, degrees in (*images, *seeds)), 1.0)
    half = float(stdtrit(freedom, 1 - TAIL)) * error
    return Difference(
        difference=100 * value,
        low=100 * max(value - half, -1.0),
        high=100 * min(value + half, 1.0),
        p=2 * float(stdtr(freedom, -abs(value) / error)),
        image_error=100 * math.sqrt(image_variance),
        seed_error=100 * math.sqrt(seed_variance),
        degrees_of_freedom=freedom,
        seeds=(min(len(a) for a, _ in sets), min(len(b) for _, b in sets)),
    )


def _seed_parts(samples: Sequence[Sample]) -> list[tuple[float, int]]:
    """Variances of the mean over the sets due to the seeds of one model, with their degrees of freedom."""
    if len({sample.size for sample in samples}) == 1:
        means = Sample(np.mean([sample.values for sample in samples], axis=0), samples[0].weights)
        return [(means.variance, means.degrees_of_freedom)]
    return [(sample.variance / len(samples) ** 2, sample.degrees_of_freedom) for sample in samples]
