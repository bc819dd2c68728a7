"""Multiple comparison with the best: how far each of several models is at most behind the best of them (Hsu, 1984).

The absence of a significant difference is no evidence that two models are equally good. An upper bound is: a model that
is at most U points behind the best can be chosen at a loss of at most U points.

Axes:  model     one of the compared models; pairs have two of these axes
       seed      one training of a model
       image     one image of the test split, the same for all models
       resample  one bootstrap resample
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixlab.stats.components import (
    Components,
    Correctness,
    ImageSample,
    Sample,
    accuracies,
    image_sample,
    variance_components,
)
from mixlab.stats.estimate import RESAMPLES

LEVEL = 0.95

_BLOCK = 500  # resamples that are drawn at once, which limits the memory


def behind_the_best(
    correct: Sequence[Correctness],
    *,
    may_be_best: NDArray[np.bool_] | None = None,
    image_variance_factor: float = 1.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[float]:
    """For each model, U: it is at most U percentage points behind the best model. The bounds are simultaneous at 95 %.

    correct:                for two or more models, (seed, image) whether each training classified each image
                            correctly. The images must be the same; the numbers of seeds may differ.
    may_be_best:            (model,) the models of which the best is meant, at least one; None: all.
    image_variance_factor:  multiplies the variance due to the images, for example by a correction for the overlap of
                            training images in cross-validation.
    resamples:              number of bootstrap resamples.
    seed:                   seed of the random numbers; the same seed gives the same result.

    Returns percentage points from 0 to 100, in the order of `correct`. 0: this model is the best.

    These are the constrained upper bounds of Hsu (1984; 1996, section 4.2), in the form for unequal variances. A joint
    bootstrap of all models gives the critical values: for each model j as the reference, d_j is the 95 % quantile of
    max over i of  T_ij = (deviation of mean i - deviation of mean j) / standard error  (one-sided Dunnett, 1955). The
    models that may be the best are  S = {j: mean_j - mean_i + d_j SE_ij >= 0 for all i}, and
    U_i = max over j in S of  mean_j - mean_i + d_j SE_ij,  at least 0, without j = i.

    If j is the best model, all true differences  j - i  are below their bounds with a probability of 95 %. j is then in
    S, so that every U_i is large enough. The claim holds for all models at once, and therefore also for a model that is
    chosen by its bound.

    Images are resampled jointly for all models and seeds separately for each model, with the corrections of
    `mixlab.stats.paired.crossed_bootstrap`. Student's t for few seeds is one for each model: every resample is divided
    by a standard error of its own, in which the variance over seeds of each model is multiplied by a chi-square over
    its degrees of freedom.

    With one training of a model, the bound covers other test images only. `benchmarks/recommendation.py` measures the
    error rates, and docs/compare.md has the results.
    """
    rng = np.random.default_rng(seed)
    images, seeds = image_sample(correct), [accuracies(each) for each in correct]
    components = variance_components(correct, images, image_variance_factor=image_variance_factor)
    blocks = [min(_BLOCK, resamples - start) for start in range(0, resamples, _BLOCK)]
    largest = np.concatenate([_largest_deviations(images, seeds, components, block, rng) for block in blocks])
    critical = np.quantile(largest, LEVEL, axis=0, method="higher")
    counted = np.ones(len(correct), dtype=bool) if may_be_best is None else may_be_best
    return (100 * _upper_bounds(components, critical, counted)).tolist()


def _largest_deviations(
    images: ImageSample, seeds: Sequence[Sample], components: Components, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(resample, model) For each reference model, the largest studentised deviation of another model from it."""
    adjustment = np.sqrt(components.image_variance / np.where(images.pair_variance > 0, images.pair_variance, 1))
    deviations = _differences(images.resample_means(resamples, rng)) * adjustment
    deviations += _differences(np.column_stack([sample.resample_means(resamples, rng) for sample in seeds]))
    freedom = [sample.degrees_of_freedom for sample in seeds]
    seed_variance = components.seed_variance * rng.chisquare(freedom, (resamples, len(seeds))) / freedom
    variance = components.image_variance + seed_variance[:, :, None] + seed_variance[:, None, :]
    t = deviations / np.sqrt(variance)
    diagonal = np.arange(len(seeds))
    t[:, diagonal, diagonal] = -np.inf
    return t.max(axis=1)


def _differences(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(resample, model i, model j) The values (resample, model) of i minus those of j."""
    return values[:, :, None] - values[:, None, :]


def _upper_bounds(
    components: Components, critical: NDArray[np.float64], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(model,) U as a fraction; `critical` is d (model,)."""
    differences = components.means - components.means[:, None] + critical * np.sqrt(components.variance)  # j - i
    np.fill_diagonal(differences, np.inf)
    may_be_best = counted & (differences[counted].min(axis=0) >= 0)
    others = np.where(may_be_best, differences, -np.inf)
    np.fill_diagonal(others, -np.inf)
    return others.max(axis=1).clip(0, 1)
