"""The check that a map depends on the weights: maps of the same model with shuffled weights.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps", https://arxiv.org/abs/1810.03292 (section 3): a map that is the
same for a model with random weights shows the image, not what the model has learned. The weights are randomised by
shuffling the values within each tensor, so that they have the scale of the trained ones; the initial weights of some
models give the same logits for all images.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from mixlab.errors import UserError
from mixlab.prediction.explainer import Explainer, Explanation
from mixlab.prediction.importance_map import Method
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.stats.rank_correlation import MIN_PAIRS, rank_correlation
from mixlab.zoo.architecture import Model

MAX_IMAGES = 16
"""Images that are compared."""


@dataclass(frozen=True, eq=False)
class WeightsCheck:
    """How similar the maps of a method are to those with shuffled weights.

    correlations  (seed, image): Spearman's rank correlation of the cells of both maps, from -1 to 1; 0 for a pair with
                  a map that has the same value everywhere
    """

    method: Method
    correlations: Float[np.ndarray, "seed image"]

    @property
    def mean(self) -> Estimate:
        """The mean over images, and over seeds with its interval."""
        return mean_interval(self.correlations.mean(axis=1), "", least=-1, most=1)

    @property
    def mean_absolute(self) -> Estimate:
        """The mean of the absolute values: a map with the opposite order is as similar as one with the same order."""
        return mean_interval(np.abs(self.correlations).mean(axis=1), "", least=0, most=1)

    def to_dict(self) -> dict[str, Any]:
        """JSON-serializable values, unrounded: a list for each seed, with a number for each image."""
        return {"method": self.method, "rank_correlations": self.correlations.tolist()}


def check_weights(explainer: Explainer, explanations: Sequence[Explanation], seeds: int) -> list[WeightsCheck]:
    """Compare the maps of one or more explanations with those of `seeds` models with shuffled weights.

    Raises UserError if a map has fewer than five cells.
    """
    for method, values in explanations[0].maps.items():
        if values.values.size < MIN_PAIRS:
            raise UserError(
                f"--check needs maps with {MIN_PAIRS} cells or more, and the map of {method} has "
                f"{values.values.size}: leave --check out, or give a smaller --window."
            )
    found: dict[Method, list[list[float]]] = {method: [] for method in explainer.methods}
    for seed in range(seeds):
        model = with_shuffled_weights(explainer.model, seed)
        maps = [explainer.maps_with_weights_of(model, explanation) for explanation in explanations]
        for method, correlations in found.items():
            pairs = zip(explanations, maps, strict=True)
            correlations.append([_correlation(one.maps[method].values, other[method].values) for one, other in pairs])
    return [WeightsCheck(method, np.array(correlations)) for method, correlations in found.items()]


def with_shuffled_weights(model: Model, seed: int) -> Model:
    """A copy of a model in which the values of every parameter are permuted. Buffers are the same."""
    shuffled = deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in shuffled.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return shuffled


def check_table(checks: Sequence[WeightsCheck], noun: str) -> Table:
    """A row for each method. `noun` is what an explained file is, for the note."""
    columns = [
        Column("method", "method"),
        Column("correlation", "mean rank correlation", digits=2),
        Column("absolute", "mean of its absolute value", digits=2),
    ]
    rows: list[dict[str, Cell]] = [
        {"method": one.method, "correlation": one.mean, "absolute": one.mean_absolute} for one in checks
    ]
    seeds, images = checks[0].correlations.shape
    note = (
        "Spearman's rank correlation of the maps with those of shuffled weights, averaged over "
        f"{pluralize(images, noun)}; ± is the standard deviation over {pluralize(seeds, 'seed')}. If the absolute "
        f"value is near 1, the maps show the {noun} and not what the model has learned: do not use them."
    )
    return Table("Check with randomised weights", columns, rows, [note])


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if not (np.ptp(first) > 0 and np.ptp(second) > 0):  # without an order; also if shuffled weights give NaN
        return 0.0
    return rank_correlation(first.ravel().tolist(), second.ravel().tolist()).value
