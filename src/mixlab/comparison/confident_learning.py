"""Confident learning: which labels are probably wrong, from out-of-fold probabilities.

Northcutt, Jiang and Chuang 2021, https://arxiv.org/abs/1911.00068 (section 3). An image is counted for a class if its
probability is at least the average probability that the images labelled with this class have for it. The counts, scaled
to the number of images of each label, estimate the joint distribution of given and true labels.

Axes:  image  in the order of the data set
       class  in the order of the data set; in a matrix, the rows are given labels and the columns true ones
       group  images that are sampled together, such as copies
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64

from mixlab.stats.estimate import TAIL, Estimate

Labels = Int[np.ndarray, " image"]
Probabilities = Float[np.ndarray, "image class"]

_ROUNDING = 1e-9
"""A class whose images all have the same probability reaches its own threshold, in spite of rounding errors."""


def confident_joint(labels: Labels, probabilities: Probabilities) -> Int64[np.ndarray, "class class"]:
    """The number of images with each given label that are counted for each class (the confident joint, equation 1).

    labels         class indices
    probabilities  out of fold, 0 to 1

    An image that reaches the thresholds of several classes is counted for the most probable of these, one that reaches
    none is not counted. The diagonal is at least 1, so that no class is without a correct label.
    """
    counts = _weighted_joint(labels, probabilities, np.ones(len(labels))).astype(np.int64)
    np.fill_diagonal(counts, counts.diagonal().clip(min=1))
    return counts


def estimated_counts(labels: Labels, probabilities: Probabilities) -> Int64[np.ndarray, "class class"]:
    """The estimated number of images with each given and true label, in whole images.

    The confident joint with every row scaled to the number of images with this label (equation 3). The sum of a row is
    exactly that number: the largest fractions are rounded up.
    """
    classes = probabilities.shape[1]
    images = np.bincount(labels, minlength=classes)
    joint = confident_joint(labels, probabilities)
    scaled = joint / joint.sum(axis=1, keepdims=True) * images[:, None]
    counts = np.floor(scaled).astype(np.int64)
    for row, exact, total in zip(counts, scaled, images, strict=True):
        by_fraction = np.argsort(np.floor(exact) - exact, kind="stable")
        row[by_fraction[: total - row.sum()]] += 1
    return counts


def prune_by_class(labels: Labels, probabilities: Probabilities) -> Bool[np.ndarray, " image"]:
    """Whether each label is probably wrong: in each class, as many images as are estimated to have another true label,
    with the lowest `self_confidence` (section 3.2, method 3).

    An image whose most probable class is its label is never included.
    """
    counts = estimated_counts(labels, probabilities)
    confidence = self_confidence(labels, probabilities)
    wrong = np.zeros(len(labels), dtype=bool)
    for label in range(len(counts)):
        images = np.flatnonzero(labels == label)
        errors = len(images) - counts[label, label]
        wrong[images[np.argsort(confidence[images], kind="stable")[:errors]]] = True
    return wrong & _is_contradicted(labels, probabilities)


def prune_by_noise_rate(labels: Labels, probabilities: Probabilities) -> Bool[np.ndarray, " image"]:
    """Whether each label is probably wrong: for each label and each other class, as many images as are estimated to
    belong to that class, with the largest difference of its probability and that of the label (section 3.2, method 4).

    An image whose most probable class is its label is never included.
    """
    counts = estimated_counts(labels, probabilities)
    wrong = np.zeros(len(labels), dtype=bool)
    for label, row in enumerate(counts):
        images = np.flatnonzero(labels == label)
        excess = probabilities[images] - probabilities[images, label, None]
        for other in np.flatnonzero(row):
            if other != label:
                wrong[images[np.argsort(-excess[:, other], kind="stable")[: row[other]]]] = True
    return wrong & _is_contradicted(labels, probabilities)


def self_confidence(labels: Labels, probabilities: Probabilities) -> Float[np.ndarray, " image"]:
    """The probability of each given label, 0 to 1. The lowest is the most suspicious."""
    return probabilities[np.arange(len(labels)), labels]


def normalized_margin(labels: Labels, probabilities: Probabilities) -> Float[np.ndarray, " image"]:
    """The probability of each given label minus that of the most probable other class, -1 to 1.

    The lowest is the most suspicious.
    """
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return self_confidence(labels, probabilities) - others.max(axis=1)


def wrong_label_share(
    labels: Labels,
    probabilities: Probabilities,
    group_ids: Int[np.ndarray, " image"],
    *,
    resamples: int = 1_000,
    seed: int = 0,
) -> Estimate:
    """The estimated share of wrong labels in per cent: the part of the joint distribution that is off the diagonal.

    group_ids  images of one group are sampled together
    resamples  number of bootstrap resamples of the groups
    seed       of the random numbers

    The interval is that of a percentile bootstrap (Efron, 1979), with the thresholds estimated in every resample. It
    says how much the estimate varies with the images. The probabilities stay the same, so it does not include that the
    model confuses classes: the estimate is too high where images of two classes look alike to the model. `low` and
    `high` are None if all resamples give the same share.
    """
    group_of = np.unique(group_ids, return_inverse=True)[1]
    groups = int(group_of.max()) + 1
    rng = np.random.default_rng(seed)
    shares = [
        _off_diagonal_share(
            labels, probabilities, np.bincount(rng.integers(groups, size=groups), minlength=groups)[group_of]
        )
        for _ in range(resamples)
    ]
    low, high = (float(end) for end in np.quantile(shares, [TAIL, 1 - TAIL]))
    value = _off_diagonal_share(labels, probabilities, np.ones(len(labels)))
    if low == high:
        return Estimate(value, low=None, high=None, n=len(labels), unit="%")
    return Estimate(value, low=low, high=high, n=len(labels), unit="%")


def _weighted_joint(
    labels: Labels, probabilities: Probabilities, weights: Float[np.ndarray, " image"] | Int[np.ndarray, " image"]
) -> Float64[np.ndarray, "class class"]:
    """The confident joint of images that count `weights` times."""
    classes = probabilities.shape[1]
    sums = np.bincount(labels, weights * self_confidence(labels, probabilities), classes)
    thresholds = np.divide(sums, np.bincount(labels, weights, classes), out=np.full(classes, np.inf), where=sums > 0)
    candidates = np.where(probabilities >= thresholds - _ROUNDING, probabilities, -1.0)
    confident = candidates.argmax(axis=1)
    counted = np.flatnonzero(candidates[np.arange(len(labels)), confident] >= 0)
    cells = labels[counted] * classes + confident[counted]
    return np.bincount(cells, weights[counted], classes**2).reshape(classes, classes)


def _off_diagonal_share(
    labels: Labels, probabilities: Probabilities, weights: Float[np.ndarray, " image"] | Int[np.ndarray, " image"]
) -> float:
    """In per cent."""
    joint = _weighted_joint(labels, probabilities, weights)
    np.fill_diagonal(joint, joint.diagonal().clip(min=1))
    images = np.bincount(labels, weights, len(joint))
    return 100 * float(images @ (1 - joint.diagonal() / joint.sum(axis=1)) / images.sum())


def _is_contradicted(labels: Labels, probabilities: Probabilities) -> Bool[np.ndarray, " image"]:
    """Whether another class is more probable than the label."""
    return self_confidence(labels, probabilities) < probabilities.max(axis=1)
