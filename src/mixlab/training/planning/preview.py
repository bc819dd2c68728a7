"""A preview of training images as they are given to the model: cropped, resized, augmented and mixed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mixlab.data.dataset import Split
from mixlab.data.masks import Masks
from mixlab.data.multilabel import strata_of
from mixlab.data.preprocess import Preprocess
from mixlab.data.rng import step_seed
from mixlab.training.job import Job

EPOCHS = 4
"""The number of epochs that are previewed: each image has one augmented version per epoch."""

_MIN_SHARE = 0.01
"""The smallest target probability of a class that is named below a mixed image."""


@dataclass(frozen=True, eq=False)
class PreviewedImage:
    """An image in its versions.

    name       the name in the dataset
    label      the class name, or the names of all labels
    original   as in the file
    evaluated  as preprocessed for evaluation, not normalised
    epochs     augmented as in the first epochs of the training
    """

    name: str
    label: str
    original: UInt8[np.ndarray, "row column 3"]
    evaluated: UInt8[np.ndarray, "row column 3"]
    epochs: Sequence[UInt8[np.ndarray, "row column 3"]]


@dataclass(frozen=True, eq=False)
class MixedImage:
    """An image of a mixed batch as in the first step, and its target, such as "62 % cat, 38 % dog"."""

    image: UInt8[np.ndarray, "row column 3"]
    target: str


@dataclass(frozen=True, eq=False)
class Preview:
    """The preview of a job.

    images      the previewed images
    mixed       a mixed batch; empty if the recipe has no mixing
    unreadable  the reason for each image that can't be read, by name
    """

    job: Job
    images: Sequence[PreviewedImage]
    mixed: Sequence[MixedImage]
    unreadable: Mapping[str, str]


def preview(job: Job, n_images: int, *, quiet: bool) -> Preview:
    """Preview `n_images` training images, from all classes in proportion to their frequency.

    The random numbers are those of a training on these images. `quiet` disables the progress bars.
    """
    split = _stratified(job.dataset.splits["train"], n_images)
    recipe = job.recipe.model_copy(update={"batch": max(len(split), 2), "max_unreadable": len(split), "workers": 0})
    batches = replace(job, recipe=recipe).augmented_batches(split, quiet=quiet)
    classes, augmentation = job.dataset.classes, recipe.augmentation
    versions: dict[int, list[UInt8[np.ndarray, "row column 3"]]] = {}
    for epoch in range(EPOCHS):
        batch = next(batches.epoch(epoch))
        images, _ = batch.on("cpu")
        for index, image in zip(batch.indices.tolist(), _denormalised(images, job.image_preprocess), strict=True):
            versions.setdefault(index, []).append(image)
    previewed = [
        PreviewedImage(
            name=split.names[index],
            label=_label_text(split, index, classes),
            original=(original := split.image(index, job.image_preprocess.decoding)),
            evaluated=job.image_preprocess.resized(original).permute(1, 2, 0).numpy(),
            epochs=versions[index],
        )
        for index in sorted(versions)
    ]
    mixed: list[MixedImage] = []
    if augmentation.mixup is not None or augmentation.mixup_or_cutmix is not None:
        images, labels = next(batches.epoch(0)).on("cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step_seed(recipe.seed, 0, 0))
            targets = job.task.targets(labels, len(classes), recipe.loss)
            images, targets = job.task.mix(images, targets, augmentation)
        mixed = [
            MixedImage(image, target_text(target, classes))
            for image, target in zip(_denormalised(images, job.image_preprocess), targets, strict=True)
        ]
    return Preview(job, previewed, mixed, batches.unreadable)


def _stratified(split: Split, n_images: int) -> Split:
    match split.labels:
        case Masks():
            strata = np.zeros(len(split), dtype=np.int64)
        case labels:
            strata = labels if labels.ndim == 1 else strata_of(labels)
    by_class = np.argsort(strata, kind="stable")
    positions = np.linspace(0, len(split) - 1, min(n_images, len(split))).round().astype(np.int64)
    return split.subset(by_class[positions])


def _label_text(split: Split, index: int, classes: Sequence[str]) -> str:
    """The class of an image, or its labels, or the classes of its mask."""
    if isinstance(split.labels, Masks):
        return ", ".join(classes[each] for each in np.flatnonzero(split.labels[[index]].pixel_counts()[0]).tolist())
    label = split.labels[index]
    return ", ".join(classes[index] for index in np.flatnonzero(label).tolist()) if label.ndim else classes[int(label)]


def _denormalised(
    images: Float[Tensor, "image 3 row column"], preprocess: Preprocess
) -> list[UInt8[np.ndarray, "row column 3"]]:
    """Undo the normalisation of images."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    pixels = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return list(pixels.permute(0, 2, 3, 1).numpy())


def target_text(target: Float[Tensor, " class"], classes: Sequence[str]) -> str:
    """The target probabilities as text, such as "62 % cat, 38 % dog", without classes below one per cent."""
    order = torch.argsort(target, descending=True, stable=True).tolist()
    named = [label for label in order if target[label] >= _MIN_SHARE]
    return ", ".join(f"{100 * target[label].item():.0f} % {classes[label]}" for label in named)
