"""The difference of two mean accuracies over seeds and images: its variance, and bootstrap replicates.

Axes:  seed      one training of a model
       image     one image of the test split, the same for both models
       resample  one bootstrap resample
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixlab.stats.components import Correctness, Sample, accuracies, interaction_variance


@dataclass(frozen=True)
class CrossedDifference:
    """Mean accuracy of model a minus mean accuracy of model b. All numbers are fractions, not per cent.

    images             the difference of every image, with the four half images of `image_differences`
    seeds_a, seeds_b   the accuracies of the trainings
    image_variance     variance of the difference due to the images, without the interaction of seeds and images
    image_uncertainty  the same with the interaction: the variance whose degrees of freedom are those of the images
    """

    images: Sample
    seeds_a: Sample
    seeds_b: Sample
    image_variance: float
    image_uncertainty: float

    @property
    def value(self) -> float:
        return self.seeds_a.mean - self.seeds_b.mean

    @property
    def seed_variance(self) -> float:
        """Variance of the difference due to the seeds, with the interaction; 0 for one training of each model."""
        return self.seeds_a.variance + self.seeds_b.variance

    @property
    def variance(self) -> float:
        return self.image_variance + self.seed_variance

    @cached_property
    def degrees_of_freedom(self) -> float:
        """Of the variance (Satterthwaite, 1946)."""
        denominator = self.image_uncertainty**2 / self.images.degrees_of_freedom
        denominator += sum(seeds.variance**2 / seeds.degrees_of_freedom for seeds in (self.seeds_a, self.seeds_b))
        return max(self.variance**2 / denominator, 1.0)  # the subtraction of the interaction could make it smaller

    def replicates(self, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """(resample,) Studentised replicates of the difference from -1 to 1, in ascending order."""
        deviations = (
            self.images.resample_means(resamples, rng) * math.sqrt(self.image_variance / self.images.variance)
            + self.seeds_a.resample_means(resamples, rng)
            - self.seeds_b.resample_means(resamples, rng)
        )
        freedom = self.degrees_of_freedom
        t_deviations = deviations * np.sqrt(freedom / rng.chisquare(freedom, resamples))
        return np.sort(np.clip(self.value + t_deviations, -1, 1))


def crossed_difference(
    correct_a: Correctness, correct_b: Correctness, *, image_variance_factor: float = 1.0
) -> CrossedDifference:
    """The arguments are those of `mixlab.stats.paired.crossed_bootstrap`."""
    images = image_differences(correct_a, correct_b)
    # The variance over seeds contains the interaction already. The lower bound is the variance of the four half images.
    interaction = interaction_variance(correct_a) + interaction_variance(correct_b)
    return CrossedDifference(
        images,
        accuracies(correct_a),
        accuracies(correct_b),
        image_variance=image_variance_factor * max(images.variance - interaction, 1 / images.size**2),
        image_uncertainty=image_variance_factor * images.variance,
    )


def image_differences(correct_a: Correctness, correct_b: Correctness) -> Sample:
    """Mean difference of each image plus the four half images; equal values are stored once, with their count."""
    values, weights = np.unique(correct_a.mean(axis=0) - correct_b.mean(axis=0), return_counts=True)
    return Sample(np.append(values, [1, -1, 0]), np.append(weights, [0.5, 0.5, 1]))
