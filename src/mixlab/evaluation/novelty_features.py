"""The images that a novelty detector is made from, and their features.

Axes:  selected  a selected image of a split
       channel   of the feature vector, which is the input of the head
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from mixlab.data.batches import EvalBatches, TooManyUnreadableError
from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.evaluation.novelty import (
    MAX_STORED,
    MAX_VALIDATION,
    MIN_VALIDATION,
    NoveltyDetector,
    fit_novelty_detector,
)
from mixlab.evaluation.training_images import TrainingImages, digests_of
from mixlab.report.progress import progress
from mixlab.speed.inference import Inference
from mixlab.speed.inference_plan import Speed
from mixlab.zoo.architecture import Embed, Model

Vectors = Mapping[int, Float32[np.ndarray, " channel"]]
"""Feature vectors by the index of the image in its split."""


@dataclass(frozen=True, eq=False)
class NoveltyImages:
    """The indices of the images that a detector is made from, in the splits "train" and "validation"."""

    train: Int64[np.ndarray, " _"]
    validation: Int64[np.ndarray, " _"]

    def share(self, rank: int, processes: int) -> "NoveltyImages":
        """The part of one of several processes."""
        return NoveltyImages(self.train[rank::processes], self.validation[rank::processes])


@dataclass(frozen=True, eq=False)
class NoveltyFeatures:
    """The features of the images of both splits. `|` combines the shares of several processes."""

    train: Vectors
    validation: Vectors

    def __or__(self, other: "NoveltyFeatures") -> "NoveltyFeatures":
        return NoveltyFeatures({**self.train, **other.train}, {**self.validation, **other.validation})

    def detector(self) -> NoveltyDetector | None:
        """The detector; None if there are too few validation images, or no training image can be read."""
        if not self.train or not self.validation:
            return None
        return fit_novelty_detector(_sorted(self.train), _sorted(self.validation))


def select_novelty_images(dataset: Dataset, learned: TrainingImages, *, quiet: bool) -> NoveltyImages | None:
    """Choose at most `MAX_STORED` training and `MAX_VALIDATION` validation images at random, always the same ones.

    learned  the training images of the weights: validation images that are among them are left out

    None if fewer than `MIN_VALIDATION` validation images are left.
    """
    if len(dataset.splits.get("validation", ())) < MIN_VALIDATION:
        return None
    train = dataset.splits["train"].sample_indices(MAX_STORED)
    validation = dataset.splits["validation"].sample_indices(MAX_VALIDATION)
    digests = digests_of(dataset.splits["validation"].subset(validation), quiet=quiet)
    unseen = validation[~learned.contains_trained(digests)]
    return NoveltyImages(train, unseen) if len(unseen) >= MIN_VALIDATION else None


def embed_novelty_images(
    model: Model,
    preprocess: Preprocess,
    dataset: Dataset,
    images: NoveltyImages,
    *,
    batch: int,
    workers: int = 0,
    speed: Speed,
    quiet: bool,
) -> NoveltyFeatures:
    """The features of the images that can be read, in fp32.

    model    in evaluation mode
    batch    images per forward pass
    workers  processes that read images
    speed    "auto" for the fastest plan in fp32, or "off" for eager execution
    quiet    no progress bar
    """
    device, number = next(model.parameters()).device, len(images.train) + len(images.validation)
    inference = Inference(Embed(model), device, speed=speed, precisions=("fp32",), number=number)
    return NoveltyFeatures(
        *(
            _embed(inference, preprocess, dataset.splits[name], indices, batch=batch, workers=workers, quiet=quiet)
            for name, indices in (("train", images.train), ("validation", images.validation))
        )
    )


def _embed(
    inference: Inference,
    preprocess: Preprocess,
    split: Split,
    indices: Int64[np.ndarray, " selected"],
    *,
    batch: int,
    workers: int,
    quiet: bool,
) -> Vectors:
    if not len(indices):
        return {}
    selected = split.subset(indices)
    try:
        batches = EvalBatches(
            selected, preprocess, batch=batch, workers=workers, max_unreadable=len(selected), quiet=quiet
        )
    except TooManyUnreadableError:  # none of them can be read
        return {}
    vectors: dict[int, Float32[np.ndarray, " channel"]] = {}
    with progress("features", len(batches.readable), quiet=quiet) as advance:
        for each in batches:
            inputs, _ = each.on(inference.device)
            inference.plan_for(inputs, len(indices))
            (embedded,) = inference(inputs)
            vectors |= zip(indices[each.indices].tolist(), embedded.numpy(force=True), strict=True)
            advance(len(each.indices))
    return vectors


def _sorted(vectors: Vectors) -> Float32[np.ndarray, "image channel"]:
    return np.stack([vectors[index] for index in sorted(vectors)])
