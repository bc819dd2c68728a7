"""The images that a novelty detector is made from, and their features.

Axes:  selected  a selected image of a split
       channel   of the feature vector, which is the input of the head
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from mixlab.data.dataset import Dataset, Split
from mixlab.data.image_file import UnreadableImage
from mixlab.data.preprocess import Preprocess
from mixlab.data.rng import epoch_order
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

_THREADS = 8
"""Image files are decoded by this many threads; Pillow decodes without Python's lock."""

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
    train = _sample(dataset.splits["train"], MAX_STORED)
    validation = _sample(dataset.splits["validation"], MAX_VALIDATION)
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
    speed: Speed,
    quiet: bool,
) -> NoveltyFeatures:
    """The features of the images that can be read, in fp32.

    model  in evaluation mode
    batch  images per forward pass
    speed  "auto" for the fastest plan in fp32, or "off" for eager execution
    quiet  no progress bar
    """
    device, number = next(model.parameters()).device, len(images.train) + len(images.validation)
    inference = Inference(Embed(model), device, speed=speed, precisions=("fp32",), number=number)
    return NoveltyFeatures(
        *(
            _embed(inference, preprocess, dataset.splits[name], indices, batch=batch, quiet=quiet)
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
    quiet: bool,
) -> Vectors:
    def resized(index: int) -> UInt8[Tensor, "3 row column"] | None:
        try:
            return preprocess.resized(split.image(index, preprocess.decoding))
        except UnreadableImage:
            return None

    vectors: dict[int, Float32[np.ndarray, " channel"]] = {}
    with ThreadPoolExecutor(_THREADS) as pool, progress("features", len(indices), quiet=quiet) as advance:
        for start in range(0, len(indices), batch):
            chunk = indices[start : start + batch].tolist()
            readable = {
                index: image for index, image in zip(chunk, pool.map(resized, chunk), strict=True) if image is not None
            }
            if readable:
                inputs = preprocess.finished(torch.stack(list(readable.values())).to(inference.device))
                inference.plan_for(inputs, len(indices))
                (embedded,) = inference(inputs)
                vectors |= zip(readable, embedded.numpy(force=True), strict=True)
            advance(len(chunk))
    return vectors


def _sample(split: Split, maximum: int) -> Int64[np.ndarray, " selected"]:
    """Sorted indices of at most `maximum` images."""
    return np.sort(epoch_order(0, 0, len(split))[:maximum])


def _sorted(vectors: Vectors) -> Float32[np.ndarray, "image channel"]:
    return np.stack([vectors[index] for index in sorted(vectors)])
