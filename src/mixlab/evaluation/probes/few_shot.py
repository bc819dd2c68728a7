"""Few-shot linear classification: regularised least squares on a few random images of each class.

This is the evaluation of the MLP-Mixer paper (Tolstikhin et al. 2021, section 3) as big_vision computes it: k random
images of each class; features normalised with the mean and the population standard deviation + 1e-5 of these images; an
additional constant feature of 100; targets of -1 and 1; and a penalty of 1024 on all coefficients, with a Gram matrix
that is a sum over the images, not their mean.

Axes:  image    a training image
       channel  of the features
       class    in the order of the data set
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.linalg import solve

from mixlab.errors import UserError
from mixlab.evaluation.probes.classifier import FittedProbe, merge
from mixlab.evaluation.probes.features import Features
from mixlab.evaluation.probes.ridge import LinearHead
from mixlab.report.text import pluralize

SEEDS = (0, 1, 2)
PENALTY = 1024.0
CONSTANT = 100.0

_EPSILON = 1e-5
_BLOCK = 2048
"""Images whose features are copied at the same time."""


@dataclass(frozen=True)
class FewShot:
    """A linear classifier on `shots` random images of each class, drawn for each seed."""

    shots: int
    seeds: tuple[int, ...] = SEEDS
    selects = False

    @property
    def name(self) -> str:
        return f"fewshot:{self.shots}"

    def description(self, noun: str) -> str:
        return f"A linear classifier on {pluralize(self.shots, noun)} of each class"

    def fit(self, train: Features, validation: Features | None, classes: Sequence[str], seed: int = 0) -> FittedProbe:
        images = merge(train, validation)
        _require_shots(images, self.shots, classes)
        members = draw(images.labels, len(classes), self.shots, seed)
        return FittedProbe(fit_few_shot(images.values, members), sum(map(len, members)))


def draw(labels: Int64[np.ndarray, " image"], classes: int, shots: int, seed: int) -> list[Int64[np.ndarray, " _"]]:
    """For each class, the indices of `shots` random images. A larger number of shots contains the smaller ones."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(np.flatnonzero(labels == label))[:shots] for label in range(classes)]


def fit_few_shot(values: Float[np.ndarray, "image channel"], members: Sequence[Int64[np.ndarray, " _"]]) -> LinearHead:
    """The regularised least-squares classifier on some images.

    members  for each class, the indices of its images

    The normalised features have a mean of 0, so they are orthogonal to the constant feature, and its coefficients have
    a closed form of their own. With more channels than images, the system of the images is solved instead of that of
    the channels; the solution is the same.
    """
    counts = np.array([len(each) for each in members])
    images, channels = int(counts.sum()), values.shape[1]
    sums = np.stack([_sum(values, each) for each in members])
    mean = sums.sum(axis=0) / images
    indices = np.concatenate(members)
    if images >= channels:
        gram = _scatter(values, indices, mean)
        deviation = np.sqrt(gram.diagonal() / images) + _EPSILON
        gram /= deviation
        gram /= deviation[:, None]
        gram.flat[:: channels + 1] += PENALTY
        projected = 2 * (sums - counts[:, None] * mean) / deviation  # the -1 of all targets cancels: the mean is 0
        slopes = solve(gram, projected.T, assume_a="pos", overwrite_a=True, overwrite_b=True)
    else:
        centred = values[indices] - mean
        deviation = centred.std(axis=0) + _EPSILON
        standard = centred / deviation
        targets = 2 * np.repeat(np.eye(len(members)), counts, axis=0) - 1
        gram = standard @ standard.T
        gram.flat[:: images + 1] += PENALTY
        slopes = standard.T @ solve(gram, targets, assume_a="pos")
    weight = slopes.T / deviation
    constant = CONSTANT**2 * (2 * counts - images) / (CONSTANT**2 * images + PENALTY)
    return LinearHead(weight, constant - weight @ mean)


def _scatter(
    values: Float[np.ndarray, "image channel"],
    indices: Int64[np.ndarray, " selected"],
    mean: Float64[np.ndarray, " channel"],
) -> Float64[np.ndarray, "channel channel"]:
    """The sum of the outer products of the centred features, block by block."""
    scatter = np.zeros((len(mean), len(mean)))
    mean = mean.astype(values.dtype)
    for block in _blocks(indices):
        centred = values[block] - mean
        scatter += centred.T @ centred
    return scatter


def _sum(
    values: Float[np.ndarray, "image channel"], indices: Int64[np.ndarray, " selected"]
) -> Float64[np.ndarray, " channel"]:
    """The sum of the features of some images, block by block."""
    sums = (values[block].sum(axis=0, dtype=np.float64) for block in _blocks(indices))
    return sum(sums, start=np.zeros(values.shape[1]))


def _blocks(indices: Int64[np.ndarray, " selected"]) -> Iterator[Int64[np.ndarray, " block"]]:
    return (indices[start : start + _BLOCK] for start in range(0, len(indices), _BLOCK))


def _require_shots(images: Features, shots: int, classes: Sequence[str]) -> None:
    counts, noun = np.bincount(images.labels, minlength=len(classes)), images.noun
    fewest = int(counts.argmin())
    if counts[fewest] < shots:
        way_out = f"give fewshot:{counts[fewest]}, or add {noun}s" if counts[fewest] else f"add {noun}s, or remove it"
        raise UserError(
            f'fewshot:{shots} needs {pluralize(shots, f"training {noun}")} of each class, but "{classes[fewest]}" has '
            f"{counts[fewest]}: {way_out}."
        )
