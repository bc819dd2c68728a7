"""Which models gain the most from more data for pre-training?

Half of the classes are known, the other half are new. Every model is pre-trained on nested subsets of the images of the
known classes, for the same number of steps. They are validated equally often, and the checkpoint with the best accuracy
on validation images of the known classes is selected. Then a linear classifier on the frozen features learns the new
classes from a few images of each. Every model is trained in two sizes, and with the regularisation of the MLP-Mixer
paper and without any. The growth of a model is the slope of its few-shot accuracy over the logarithm of the number of
images. The claims compare growths: they are about the interaction of the family with the data. Each repetition has its
own classes, subsets and few-shot images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.data_scale_result import Cell, Trained, make_result
from mixlab.studies.few_shot_accuracy import few_shot_top1, train_top1
from mixlab.studies.grids import numbers, require_distinct, words
from mixlab.studies.transfer import ClassSplit, class_splits
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Recipe
from mixlab.zoo.architecture import architecture
from mixlab.zoo.scaling import resized_config

COST = "180 trainings of the length of 5 epochs on 25,000 images"

DEFAULT_MODELS = ("mixer_nano", "convmixer_nano", "davit_nano", "resnet_nano", "vit_nano")
SIZES = ("small", "large")
REGULARISATIONS = ("off", "paper")

_LARGE = 2.0
"""The width of "large" relative to the model."""

_STOCHASTIC_DEPTH = 0.1
_PAPER = {"randaugment_tf": {"layers": 2, "magnitude": 15}, "mixup": {"alpha": 0.5}}
_WEIGHT_DECAY = 0.1
"""Tolstikhin et al. 2021, appendix B: Mixer-B and Mixer-L on ImageNet."""


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    models: tuple[str, ...] = field(
        default=DEFAULT_MODELS,
        metadata={"help": "Comma-separated models: sizes, timm:NAME with its widths, variant:NAME, py:FILE:NAME."},
    )
    sizes: tuple[str, ...] = field(
        default=SIZES, metadata={"help": "small: as given; large: twice the channels and heads."}
    )
    regularisation: tuple[str, ...] = field(
        default=REGULARISATIONS,
        metadata={
            "help": "paper: RandAugment, mixup, stochastic depth and weight decay of the MLP-Mixer paper; off: none."
        },
    )
    shares: tuple[str, ...] = field(
        default=("10", "30", "100"), metadata={"help": "Per cent of the images of the known classes, 2 or more."}
    )
    seeds: int = field(default=3, metadata={"help": "Random splits of the classes into known and new.", "min": 2})
    epochs: int = field(
        default=5, metadata={"help": "Epochs on the largest subset; all trainings have its steps.", "min": 1}
    )
    images: int = field(
        default=25_000, metadata={"help": "Maximum images of the known classes, balanced by class.", "min": 1}
    )
    batch: int = field(default=64, metadata={"help": "Images of a step, the same for all subsets.", "min": 2})
    image_size: int = field(default=32, metadata={"help": "Pixels of a side, for all models.", "min": 1})
    shots: int = field(default=5, metadata={"help": "Images of each new class.", "min": 1})


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """A cell and a share of the images for each arm. Raises UserError if the data or a setting does not fit."""
    shares, cells = _shares(settings), _cells(settings)
    splits = class_splits(dataset, settings.seeds)
    _require_images(dataset, settings, shares, splits)
    found: dict[str, list[Recipe]] = {}
    for cell in cells:
        name, fields = _fields(dataset, settings, cell)
        for share in shares:
            found[cell.arm(share)] = [
                parse_training_recipe(fields | _of_subset(dataset, settings, seed, split, share, shares[-1]), name)
                for seed, split in enumerate(splits)
            ]
    return found


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """Few-shot accuracies, growths, gaps and findings."""
    dataset, shares = trained.dataset, _shares(settings)
    splits = class_splits(dataset, settings.seeds)
    found: dict[str, Trained] = {}
    for cell, share in product(_cells(settings), shares):
        name = cell.arm(share)
        tests = trained.arm(name).scores
        few_shot = [
            few_shot_top1(run, dataset, split.new, settings.shots)
            for run, split in zip(trained.runs[name], splits, strict=True)
        ]
        trained.log(f"{name}, new classes: {', '.join(f'{score:.1f}' for score in few_shot)} %")
        trains = [
            train_top1(run, training.job.dataset)
            for run, training in zip(trained.runs[name], trained.trainings[name], strict=True)
        ]
        images = tuple(len(training.job.dataset.splits["train"]) for training in trained.trainings[name])
        found[name] = Trained(cell, images, tuple(few_shot), tuple(trains), tests)
    return make_result(trained, settings, found, splits)


def _shares(settings: Settings) -> tuple[float, ...]:
    found = numbers("--shares", settings.shares, above=0, most=100, example="10,30,100")
    if len(found) < 2:
        raise UserError(f"--shares {settings.shares[0]} is a single share: give two or more, such as 10,100.")
    return found


def _cells(settings: Settings) -> list[Cell]:
    require_distinct("--models", settings.models)
    sizes = words("--sizes", settings.sizes, SIZES)
    regularisations = words("--regularisation", settings.regularisation, REGULARISATIONS)
    return [Cell(*one) for one in product(settings.models, sizes, regularisations)]


def _fields(dataset: Dataset, settings: Settings, cell: Cell) -> tuple[str, dict[str, Any]]:
    """The name and the fields of the recipe of a cell, without those of a subset."""
    name, fields = default_recipe(cell.model, dataset.name)
    regularised = cell.regularisation == "paper"
    without = {key: value for key, value in fields.items() if key not in ("epochs", "expected")}
    return name, without | {
        "batch": settings.batch,
        "image_size": settings.image_size,
        "config": _config(cell),
        "optimizer": fields["optimizer"] | {"weight_decay": _WEIGHT_DECAY if regularised else 0.0},
        "augmentation": fields.get("augmentation", {}) | (_PAPER if regularised else {}),
        "loss": fields.get("loss", {}) | {"label_smoothing": 0.0},
    }


def _of_subset(
    dataset: Dataset, settings: Settings, seed: int, split: ClassSplit, share: float, largest: float
) -> dict[str, Any]:
    """The fields of a recipe for `share` per cent of the images. Steps and validations are those of the `largest`."""
    per_class = _per_class(dataset, settings, share)
    steps_per_epoch, most = (_images(dataset, settings, one, split) // settings.batch for one in (share, largest))
    return {
        "steps": settings.epochs * most,
        "validate_every": most / steps_per_epoch,
        "seed": seed,
        "subset": {"classes": list(split.known), "per_class": per_class, "seed": seed},
    }


def _config(cell: Cell) -> dict[str, Any]:
    """The fields of the config that the size and the regularisation change."""
    fields = resized_config(cell.model, width=_LARGE) if cell.size == "large" else {}
    depth = architecture(cell.model).stochastic_depth_field
    return fields | ({depth: _STOCHASTIC_DEPTH} if depth and cell.regularisation == "paper" else {})


def _per_class(dataset: Dataset, settings: Settings, share: float) -> int:
    """The images of each known class. The subsets are nested: the random order of a class depends on the seed only."""
    counts = np.bincount(dataset.splits["train"].labels, minlength=len(dataset.classes))
    most = max(settings.images // (len(dataset.classes) // 2), 1)
    return max(round(min(most, int(counts.max())) * share / 100), 1)


def _images(dataset: Dataset, settings: Settings, share: float, split: ClassSplit) -> int:
    """The images of the known classes of `split` that a training uses."""
    counts = np.bincount(dataset.splits["train"].labels, minlength=len(dataset.classes))
    known = counts[[dataset.classes.index(name) for name in split.known]]
    return int(np.minimum(known, _per_class(dataset, settings, share)).sum())


def _require_images(
    dataset: Dataset, settings: Settings, shares: Sequence[float], splits: Sequence[ClassSplit]
) -> None:
    """Raises UserError without validation images, with too few images for a batch, or for the shots."""
    if "validation" not in dataset.splits:
        raise UserError(
            f"{dataset.name} has no validation images, which select the checkpoint: give a dataset with a validation "
            "split, or a folder without splits, which mixlab divides."
        )
    fewest = min(_images(dataset, settings, shares[0], split) for split in splits)
    if fewest < settings.batch:
        raise UserError(
            f"{shares[0]:g} % of the images of the known classes are {fewest}, less than a batch of {settings.batch}, "
            "so that the steps would not be equal: give a smaller --batch, larger --shares, or more images."
        )
    counts = np.bincount(dataset.merge_validation().splits["train"].labels, minlength=len(dataset.classes))
    if counts.min() < settings.shots:
        rare = dataset.classes[int(counts.argmin())]
        raise UserError(
            f'{dataset.name} has {counts.min()} training images of "{rare}", but the study needs {settings.shots} of '
            "each new class: give a dataset with more images, or fewer --shots."
        )
