"""The claims of the study of representations, and the images that one model alone classifies correctly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from mixlab.data.rng import named_generator
from mixlab.studies.result import Claim

GROUPINGS = 2_000
"""Random groups of runs, for the comparison with groups of the same model."""

_SOURCE = "a hypothesis of mixlab; Tolstikhin et al. 2021 leave open how the features of Mixers, CNNs and ViTs differ"
_REGIME = "no source reports it for models of this size and these images"


def claims_about(first: str, other: str) -> tuple[Claim, Claim]:
    """Whether two models differ by more than two seeds of one of them, in features and in errors."""
    return (
        Claim(
            statement=f"Features of {first} and {other} are less similar than those of two seeds of one of them.",
            contrast=(f"CKA of {first} and {other}", "CKA of two seeds"),
            expected="lower",
            source=_SOURCE,
            regime=_REGIME,
            unit="CKA",
        ),
        Claim(
            statement=f"Errors of {first} and {other} are less consistent than those of two seeds of one of them.",
            contrast=(f"kappa of {first} and {other}", "kappa of two seeds"),
            expected="lower",
            source=_SOURCE,
            regime=_REGIME,
            unit="kappa",
        ),
    )


@dataclass(frozen=True)
class Alone:
    """The images that all runs of one model classify correctly, and no run of another model.

    images    for each model, the positions of its images
    expected  the mean number of such images of all models together, if runs are assigned to models at random
    p         the share of such assignments with at least as many
    """

    images: tuple[Int[np.ndarray, " image"], ...]
    expected: float
    p: float


def alone(correct: Bool[np.ndarray, "run image"], models: Sequence[int], seed: int) -> Alone:
    """Compare groups of runs of the same model with random groups of the same sizes.

    models  for each run the number of its model, from 0
    """
    given = np.asarray(models)
    found = _images_of_each(correct, given)
    generator = named_generator("groups of runs", seed)
    totals = [sum(map(len, _images_of_each(correct, generator.permutation(given)))) for _ in range(GROUPINGS)]
    at_least = sum(total >= sum(map(len, found)) for total in totals)
    return Alone(found, float(np.mean(totals)), (1 + at_least) / (1 + GROUPINGS))


def _images_of_each(
    correct: Bool[np.ndarray, "run image"], groups: Int[np.ndarray, " run"]
) -> tuple[Int[np.ndarray, " image"], ...]:
    """For each group, the images that all of its runs classify correctly, and no other run."""
    members = [groups == group for group in range(groups.max() + 1)]
    return tuple(
        np.flatnonzero(correct[of_group].all(axis=0) & ~correct[~of_group].any(axis=0)) for of_group in members
    )
