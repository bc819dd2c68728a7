"""Similarity of two models: of their features, and of their errors.

Axes:  image    the same images for both models
       feature  of one layer
"""

import numpy as np
from jaxtyping import Bool, Float


def gram(features: Float[np.ndarray, "image feature"]) -> Float[np.ndarray, "image image"]:
    """Inner products of all pairs of images after centring, with a diagonal of 0, divided by the number of features."""
    centred = features - features.mean(axis=0)
    products = centred @ centred.T / features.shape[1]
    np.fill_diagonal(products, 0)
    return products


def unbiased_hsic(first: Float[np.ndarray, "image image"], second: Float[np.ndarray, "image image"]) -> float:
    """The unbiased estimator of the Hilbert-Schmidt independence criterion (Song et al. 2012, equation 5).

    first, second  results of `gram` for at least 4 images

    Its expected value is 0 for independent features, also with more features than images.
    """
    n = len(first)
    products = (first * second).sum()
    sums = first.sum() * second.sum() / ((n - 1) * (n - 2))
    rows = 2 / (n - 2) * (first.sum(axis=0) @ second.sum(axis=0))
    return float((products + sums - rows) / (n * (n - 3)))


def debiased_cka(cross: float, own: float, other: float) -> float:
    """Debiased centred kernel alignment from means of `unbiased_hsic` over batches; 1 for equal features.

    Kornblith et al. 2019, https://arxiv.org/abs/1905.00414; over batches as Nguyen et al. 2021,
    https://arxiv.org/abs/2010.15327, section 2.

    cross, own, other  of both models, of the first one with itself, and of the second one with itself

    0 if the features of a model are constant.
    """
    return cross / (own * other) ** 0.5 if own > 0 and other > 0 else 0.0


def error_consistency(first: Bool[np.ndarray, " image"], second: Bool[np.ndarray, " image"]) -> float | None:
    """Cohen's kappa of two models' correct and wrong answers (Geirhos et al. 2020, section 2).

    1 if they are wrong on the same images, 0 if they agree as often as independent models with the same accuracies.
    None if both are always correct, or both always wrong.
    """
    a, b = first.mean(), second.mean()
    expected = a * b + (1 - a) * (1 - b)
    return None if expected == 1 else float(((first == second).mean() - expected) / (1 - expected))
