"""What a model will see of a set of images when it is trained by a recipe: cut, resized, augmented, mixed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mixlab.data.augmentation.mixing import mix
from mixlab.data.dataset import Split
from mixlab.data.preprocess import Preprocess
from mixlab.data.rng import step_seed
from mixlab.training.job import Job
from mixlab.training.loss import targets_of

EPOCHS = 4
"""Of which each image's version is shown."""

_MIN_SHARE = 0.01
"""Of a class, to be named below a mixed image."""


@dataclass(frozen=True, eq=False)
class Seen:
    """An image as its file has it, as it is judged, and as the first epochs of the training show it."""

    name: str
    label: str
    original: UInt8[np.ndarray, "row column 3"]
    evaluated: UInt8[np.ndarray, "row column 3"]
    epochs: Sequence[UInt8[np.ndarray, "row column 3"]]


@dataclass(frozen=True, eq=False)
class Mixed:
    """An image of a batch as the first step shows it, and what it is to be taken for, as "62 % cat, 38 % dog"."""

    image: UInt8[np.ndarray, "row column 3"]
    target: str


@dataclass(frozen=True, eq=False)
class Preview:
    """`mixed` is empty where the recipe mixes nothing; `unreadable` says why, for each name."""

    job: Job
    seen: Sequence[Seen]
    mixed: Sequence[Mixed]
    unreadable: Mapping[str, str]


def preview(job: Job, n_images: int, *, quiet: bool) -> Preview:
    """Of so many training images, from all classes by their shares. Their draws are those of a training on them."""
    split = _spread(job.dataset.splits["train"], n_images)
    recipe = job.recipe.model_copy(update={"batch": max(len(split), 2), "max_unreadable": len(split), "workers": 0})
    batches = replace(job, recipe=recipe).batches_of(split, quiet=quiet)
    classes, augmentation = job.dataset.classes, recipe.augmentation
    versions: dict[int, list[UInt8[np.ndarray, "row column 3"]]] = {}
    for epoch in range(EPOCHS):
        batch = next(batches.epoch(epoch))
        images, _ = batch.on("cpu")
        for index, image in zip(batch.indices.tolist(), _visible(images, job.preprocess), strict=True):
            versions.setdefault(index, []).append(image)
    seen = [
        Seen(
            name=split.names[index],
            label=classes[split.labels[index]],
            original=(original := split.image(index)),
            evaluated=job.preprocess.resized(original).permute(1, 2, 0).numpy(),
            epochs=versions[index],
        )
        for index in sorted(versions)
    ]
    together: list[Mixed] = []
    if augmentation.mixup is not None or augmentation.mixup_or_cutmix is not None:
        images, labels = next(batches.epoch(0)).on("cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step_seed(recipe.seed, 0, 0))
            images, targets = mix(images, targets_of(labels, len(classes), recipe.loss), augmentation)
        together = [
            Mixed(image, shares(target, classes))
            for image, target in zip(_visible(images, job.preprocess), targets, strict=True)
        ]
    return Preview(job, seen, together, batches.unreadable)


def _spread(split: Split, n_images: int) -> Split:
    by_class = np.argsort(split.labels, kind="stable")
    places = np.linspace(0, len(split) - 1, min(n_images, len(split))).round().astype(np.int64)
    return split.subset(by_class[places])


def _visible(
    images: Float[Tensor, "image 3 row column"], preprocess: Preprocess
) -> list[UInt8[np.ndarray, "row column 3"]]:
    """Normalised images as they are for the eye."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    levels = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).numpy())


def shares(target: Float[Tensor, " class"], classes: Sequence[str]) -> str:
    """Per cent of each class, the largest first; those below one per cent are not named."""
    order = torch.argsort(target, descending=True, stable=True).tolist()
    named = [place for place in order if target[place] >= _MIN_SHARE]
    return ", ".join(f"{100 * target[place].item():.0f} % {classes[place]}" for place in named)
