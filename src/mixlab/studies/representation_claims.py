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
    found = tuple(np.flatnonzero(_is_alone(correct, given == model)) for model in range(given.max() + 1))
    generator = named_generator("groups of runs", seed)
    totals = []
    for _ in range(GROUPINGS):
        groups = generator.permutation(given)
        totals.append(sum(int(_is_alone(correct, groups == model).sum()) for model in range(given.max() + 1)))
    at_least = sum(total >= sum(map(len, found)) for total in totals)
    return Alone(found, float(np.mean(totals)), (1 + at_least) / (1 + GROUPINGS))


def _is_alone(correct: Bool[np.ndarray, "run image"], of_model: Bool[np.ndarray, " run"]) -> Bool[np.ndarray, " image"]:
    return np.asarray(correct[of_model].all(axis=0) & ~correct[~of_model].any(axis=0))
