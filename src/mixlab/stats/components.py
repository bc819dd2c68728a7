"""Variance components of accuracies: seeds, images, and their interaction (Obuchowski and Rockette, 1995).

Axes:  model     one of several models; pairs have two of these axes
       seed      one training of a model
       image     one image of the test split
       pattern   a distinct combination of the models' values for an image
       resample  one bootstrap resample
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Correctness = NDArray[np.bool_] | NDArray[np.float64]
"""(seed, image) Whether each training classified each image correctly; or floats: a score of each image from 0 to 1, or
the values of groups of images."""

_DRAWN = 2**25
"""Counts that are drawn at once, which limits the memory for scores that are all different."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Distinct values (value,) with their counts as weights (value,), and the variance of their mean."""

    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def size(self) -> int:
        return round(self.weights.sum())

    @property
    def degrees_of_freedom(self) -> int:
        return max(self.size - 1, 1)  # for a single value the sum of squares is 0, so the divisor has no effect

    @property
    def mean(self) -> float:
        return float(self.weights @ self.values) / self.size

    @property
    def variance(self) -> float:
        """Unbiased variance of the mean."""
        squares = float(self.weights @ (self.values - self.mean) ** 2)
        return squares / self.degrees_of_freedom / self.size

    def resample_means(self, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """(resample,) Deviations of resampled means, scaled so that their variance is `variance`.

        Without the scaling it would be (size - 1) / size of it.
        """
        shares, block = self.weights / self.size, max(_DRAWN // len(self.values), 1)
        blocks = [min(block, resamples - start) for start in range(0, resamples, block)]
        sums = [rng.multinomial(self.size, shares, size=drawn) @ self.values for drawn in blocks]
        deviations = np.concatenate(sums) / self.size - self.mean
        return deviations * math.sqrt(self.size / self.degrees_of_freedom)


def accuracies(correct: Correctness) -> Sample:
    return Sample(correct.mean(axis=1), np.ones(len(correct)))


def interaction_variance(correct: Correctness) -> float:
    """Variance of the mean accuracy due to the interaction of seeds and images.

    The interaction is what neither the seed's accuracy nor the image's difficulty explains: an image that is correct
    in one training and wrong in another. Returns 0 for a single training, from which it can't be estimated.
    """
    seeds, images = correct.shape
    if seeds == 1:
        return 0.0
    scatter = correct - correct.mean(axis=1, keepdims=True) - correct.mean(axis=0) + correct.mean()
    return float(np.sum(scatter**2)) / ((seeds - 1) * (images - 1)) / (seeds * images)


@dataclass(frozen=True, slots=True, eq=False)
class ImageSample:
    """The mean over seeds of every model for every image, with two images added.

    Each added image is correct for each model independently with a probability of 1/2. For every pair of models this is
    half an image in each cell of the table (a correct or wrong, b correct or wrong; Agresti and Min, 2005).

    patterns  (pattern, model)
    counts    (pattern,) the number of images with this pattern
    """

    patterns: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def size(self) -> int:
        """The number of images, including the added ones."""
        return int(self.counts.sum()) + 2

    @property
    def means(self) -> NDArray[np.float64]:
        """(model,) Including the added images."""
        return (self.counts @ self.patterns + 1) / self.size

    @property
    def pair_variance(self) -> NDArray[np.float64]:
        """(model, model) Unbiased variance of the difference of two means over the images; 0 on the diagonal."""
        centred, added = self.patterns - self.means, 0.5 - self.means
        squares = (centred.T * self.counts) @ centred + 2 * np.outer(added, added) + np.eye(len(added)) / 2
        covariance = squares / (self.size - 1) / self.size
        return covariance.diagonal()[:, None] + covariance.diagonal() - 2 * covariance

    def resample_means(self, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """(resample, model) Deviations of resampled means; the variances of their differences are `pair_variance`."""
        counts = rng.multinomial(self.size, np.append(self.counts, 2) / self.size, size=resamples)
        added = rng.binomial(counts[:, -1:], 0.5, size=(resamples, self.patterns.shape[1]))
        deviations = (counts[:, :-1] @ self.patterns + added) / self.size - self.means
        return deviations * math.sqrt(self.size / (self.size - 1))


def image_sample(correct: Sequence[Correctness]) -> ImageSample:
    """The sample of models that were evaluated on the same images."""
    means = np.column_stack([each.mean(axis=0) for each in correct])
    rows = means.view(np.dtype((np.void, means.strides[0]))).ravel()  # np.unique(means, axis=0) is 10 times as slow
    _, first, counts = np.unique(rows, return_index=True, return_counts=True)
    return ImageSample(means[first], counts)


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Mean accuracies of models on the same images, and the variances of the means. All are fractions, not per cent.

    means           (model,)
    image_variance  (model, model) of the difference of two means, due to the images
    seed_variance   (model,) due to the seeds, including the interaction of seeds and images
    interaction     (model,) the part of `seed_variance` that also decreases with the number of images
    seeds           (model,) number of trainings
    images          number of test images, or of groups
    """

    means: NDArray[np.float64]
    image_variance: NDArray[np.float64]
    seed_variance: NDArray[np.float64]
    interaction: NDArray[np.float64]
    seeds: NDArray[np.int64] | NDArray[np.float64]
    images: float

    @property
    def variance(self) -> NDArray[np.float64]:
        """(model, model) Variance of the difference of two means."""
        return self.image_variance + self.seed_variance[:, None] + self.seed_variance

    def with_sizes(self, *, seeds: float | NDArray[np.int64] | NDArray[np.float64], images: float) -> "Components":
        """The expected components with other numbers of seeds and images, if the means stay as they are.

        seeds: of every model, or (model,).
        """
        seed_scale, image_scale = self.seeds / seeds, self.images / images
        without_interaction = np.maximum(self.seed_variance - self.interaction, 0) * seed_scale
        interaction = self.interaction * seed_scale * image_scale
        return Components(
            self.means,
            self.image_variance * image_scale,
            without_interaction + interaction,
            interaction,
            np.full(len(self.means), seeds),
            images,
        )


def variance_components(
    correct: Sequence[Correctness], images: ImageSample, *, image_variance_factor: float = 1.0
) -> Components:
    """The components of two or more models that were evaluated on the same images.

    correct:                for each model, (seed, image) whether each training classified each image correctly.
    images:                 `image_sample(correct)`.
    image_variance_factor:  multiplies the variance due to the images, see `mixlab.stats.best.behind_the_best`.
    """
    interaction = np.array([interaction_variance(each) for each in correct])
    # The variance over seeds contains the interaction already. The lower bound is the variance of the added images.
    without_interaction = images.pair_variance - interaction[:, None] - interaction
    samples = [accuracies(each) for each in correct]
    return Components(
        means=np.array([sample.mean for sample in samples]),
        image_variance=np.maximum(without_interaction, 1 / images.size**2) * image_variance_factor,
        seed_variance=np.array([sample.variance for sample in samples]),
        interaction=interaction,
        seeds=np.array([sample.size for sample in samples]),
        images=correct[0].shape[1],
    )
