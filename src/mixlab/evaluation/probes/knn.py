"""Weighted k-nearest-neighbour classification with cosine similarity.

The k most similar training images vote with the weight exp(similarity / 0.07) (Wu et al. 2018, section 3.4; Caron et
al. 2021, section 4.1, use the same weights).

Axes:  image     a training image, or an image to classify
       channel   of the features
       class     in the order of the data set
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn.functional import normalize

from mixlab.errors import UserError
from mixlab.evaluation.probes.classifier import FittedProbe, merge
from mixlab.evaluation.probes.features import Features
from mixlab.report.text import pluralize

TEMPERATURE = 0.07

_BLOCK = 256
"""Images that are classified at the same time; their similarities to all training images are in memory."""


@dataclass(frozen=True)
class KNN:
    """The weighted vote of the `neighbours` most similar training images."""

    neighbours: int
    seeds = (0,)
    selects = False

    @property
    def name(self) -> str:
        return f"knn:{self.neighbours}"

    def description(self, noun: str) -> str:
        return f"The weighted vote of the {pluralize(self.neighbours, f'nearest training {noun}')}"

    def fit(self, train: Features, validation: Features | None, classes: Sequence[str], seed: int = 0) -> FittedProbe:
        images = merge(train, validation)
        if len(images.labels) < self.neighbours:
            raise UserError(
                f"{self.name} needs {pluralize(self.neighbours, f'training {images.noun}')}, but there are "
                f"{len(images.labels):,}: give knn:{len(images.labels)} or a smaller number."
            )
        unit = normalize(torch.from_numpy(images.values), dim=1)
        neighbours = NearestNeighbours(unit, torch.from_numpy(images.labels), len(classes), self.neighbours)
        return FittedProbe(neighbours, len(images.labels))


@dataclass(frozen=True, eq=False)
class NearestNeighbours:
    """A weighted k-nearest-neighbour classifier.

    unit        the features of the training images, scaled to length 1
    labels      their class indices
    neighbours  k
    """

    unit: Float32[Tensor, "image channel"]
    labels: Int64[Tensor, " image"]
    classes: int
    neighbours: int

    def predict(self, values: Float[np.ndarray, "image channel"]) -> Int64[np.ndarray, " image"]:
        blocks = [self._votes(block).argmax(dim=1) for block in torch.from_numpy(values).split(_BLOCK)]
        return torch.cat(blocks).numpy()

    def _votes(self, values: Float32[Tensor, "image channel"]) -> Float32[Tensor, "image class"]:
        similarity, nearest = (normalize(values, dim=1) @ self.unit.T).topk(self.neighbours, dim=1)
        votes = torch.zeros(len(values), self.classes)
        return votes.scatter_add_(1, self.labels[nearest], torch.exp(similarity / TEMPERATURE))
