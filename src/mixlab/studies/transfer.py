"""Do pre-trained models transfer to new classes?

A model is pre-trained on half of the classes with many images. The other half is then learned from few images: by
fine-tuning, with a linear probe, and from scratch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import comb
from typing import Any

import numpy as np

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.report.text import pluralize
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.initial_weights import weights_of
from mixlab.studies.result import Claim
from mixlab.training.linear_probe.recipe import LinearProbeRecipe, RidgeSettings
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Initialization, Recipe, Subset
from mixlab.weights.source import is_pretrained
from mixlab.zoo.architecture import family_of

COST = "5 trainings of 10 epochs, and 15 of 40 or 200 epochs on few images"

PRETRAINED, PROBE, TUNED = "pre-training", "linear probe", "fine-tuned"
AS_LONG, LONGER = "from scratch, as long", "from scratch, 5 times as long"

_LONGER = 5
_BATCH, _FEW_BATCH = 64, 20
_REGIME = "the source pre-trains on 1.3 to 300 million images; this study on half of a small dataset"


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    model: str = field(
        default="davit_nano", metadata={"help": "A size of Mixer, ConvMixer or DaViT, variant:NAME or py:FILE:NAME."}
    )
    seeds: int = field(default=5, metadata={"help": "Random splits of the classes into known and new.", "min": 2})
    epochs: int = field(default=10, metadata={"help": "Epochs of pre-training.", "min": 1})
    images: int = field(
        default=25_000, metadata={"help": "Maximum images for pre-training, balanced by class.", "min": 1}
    )
    shots: int = field(default=20, metadata={"help": "Training images of each new class.", "min": 4})
    tuning_epochs: int = field(default=40, metadata={"help": "Epochs on the new classes.", "min": 1})


@dataclass(frozen=True)
class ClassSplit:
    """Class names of pre-training (known) and of the transfer (new)."""

    known: tuple[str, ...]
    new: tuple[str, ...]


_TRANSFERRED = {TUNED: "a fine-tuned model", PROBE: "a linear probe of a pre-trained model"}
_FROM_SCRATCH = {AS_LONG: "as many steps", LONGER: f"{_LONGER} times as many steps"}

CLAIMS = tuple(
    Claim(
        statement=f"On new classes, {transferred} is better than training from scratch for {steps}.",
        contrast=(arm, other),
        expected="higher",
        source="Tolstikhin et al. 2021, sections 3 and 3.3",
        regime=_REGIME,
    )
    for arm, transferred in _TRANSFERRED.items()
    for other, steps in _FROM_SCRATCH.items()
)


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """The pre-training, and four ways to learn the new classes.

    Raises UserError if the dataset has too few classes or images, or if the model has trained weights.
    """
    if is_pretrained(settings.model):
        raise UserError(
            f"--model {settings.model} has trained weights, but the study trains the model itself: give an "
            "architecture, such as davit_nano."
        )
    if family_of(settings.model) == "timm":
        raise UserError(
            f"--model {settings.model} is a model of timm, and the study has a linear probe, which does not support "
            "these: give a Mixer, a ConvMixer, a DaViT or a variant, such as mixer_nano."
        )
    splits = class_splits(dataset, settings.seeds)
    _require_shots(dataset, settings.shots)
    recipes: dict[str, Callable[[int, ClassSplit], Recipe | LinearProbeRecipe]] = {
        PRETRAINED: partial(_pretraining, dataset, settings),
        PROBE: partial(_probe, dataset, settings),
        TUNED: partial(_tuned, dataset, settings),
        AS_LONG: partial(_scratch, dataset, settings, 1),
        LONGER: partial(_scratch, dataset, settings, _LONGER),
    }
    return {name: [recipe(seed, split) for seed, split in enumerate(splits)] for name, recipe in recipes.items()}


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """The accuracies on the new classes."""
    splits = class_splits(trained.dataset, settings.seeds)
    return trained.result(
        title="Do pre-trained models transfer to new classes?",
        command="mixlab study transfer",
        settings=settings,
        claims=CLAIMS,
        arms=tuple(trained.arm(name) for name in trained.runs if name != PRETRAINED),
        repeats="class splits",
        top1_interval="class splits",
        pairs=((TUNED, PROBE), *(claim.contrast for claim in CLAIMS)),
        protocol=_protocol(trained, settings),
        notes=(
            f"{settings.model}. All models except those from scratch were pre-trained for "
            f"{pluralize(settings.epochs, 'epoch')} on the known classes. Steps are those on the new classes.",
            "The linear probe is fitted to three quarters of the few images; its ridge and temperature are selected on "
            "the rest. The other arms train on all of them, without selection.",
            "The class splits share classes and images, so the intervals hold for other splits of this dataset.",
        ),
        facts={
            f"Split {n}": f"{', '.join(split.known)} → {', '.join(split.new)}"
            for n, split in enumerate(splits, start=1)
        },
    )


def _protocol(trained: TrainedArms, settings: Settings) -> str:
    """Sentences of the methods paragraph."""
    pretraining, tuning, longer = (trained.trainings[name][0] for name in (PRETRAINED, TUNED, LONGER))
    images = len(pretraining.job.dataset.splits["train"])
    return (
        f"In each of {pluralize(settings.seeds, 'random split')} of the classes of {trained.dataset.name} into known "
        f"and new ones, {settings.model} was pre-trained for {pluralize(pretraining.steps, 'step')} on {images:,} "
        f"images of the known classes. The new classes were learned from {settings.shots} images of each: by "
        f"fine-tuning for {pluralize(tuning.steps, 'step')}, by a linear probe on frozen features, whose ridge and "
        f"temperature were selected on a quarter of these images, and from scratch for {tuning.steps:,} and "
        f"{longer.steps:,} steps. The weights of the last step were evaluated in fp32 on the test images of the new "
        "classes, on which nothing was selected."
    )


def class_splits(dataset: Dataset, count: int) -> list[ClassSplit]:
    """`count` different random splits of the classes into halves. For an odd number, one more class is new.

    Raises UserError if the dataset has fewer than 4 classes, or too few for `count` splits.
    """
    classes = dataset.classes
    half = len(classes) // 2
    if half < 2:
        raise UserError(
            f"{dataset.name} has {len(classes)} classes, but the study needs at least 4, two known and two new: give a "
            "dataset with more classes."
        )
    if comb(len(classes), half) < count:
        raise UserError(
            f"--seeds {count} is too large: the {len(classes)} classes of {dataset.name} can be split in "
            f"{comb(len(classes), half)} ways only. Give fewer --seeds."
        )
    rng, known_labels = np.random.default_rng(0), dict[tuple[int, ...], None]()
    while len(known_labels) < count:
        known_labels[tuple(sorted(rng.permutation(len(classes))[:half].tolist()))] = None
    return [
        ClassSplit(
            tuple(classes[label] for label in known),
            tuple(name for label, name in enumerate(classes) if label not in known),
        )
        for known in known_labels
    ]


def _recipe(dataset: Dataset, settings: Settings, **changes: Any) -> Recipe:
    """The default recipe of the model, with validation merged into train."""
    name, fields = default_recipe(settings.model, dataset.name)
    return parse_training_recipe(fields | {"validation": "merged"} | changes, name)


def _pretraining(dataset: Dataset, settings: Settings, seed: int, split: ClassSplit) -> Recipe:
    known = Subset(classes=split.known, per_class=max(settings.images // len(split.known), 1), seed=seed)
    return _recipe(dataset, settings, seed=seed, epochs=settings.epochs, batch=_BATCH, subset=known)


def _few(settings: Settings, seed: int, split: ClassSplit) -> Subset:
    return Subset(classes=split.new, per_class=settings.shots, seed=seed)


def _scratch(dataset: Dataset, settings: Settings, longer: int, seed: int, split: ClassSplit) -> Recipe:
    epochs = longer * settings.tuning_epochs
    return _recipe(dataset, settings, seed=seed, epochs=epochs, batch=_FEW_BATCH, subset=_few(settings, seed, split))


def _tuned(dataset: Dataset, settings: Settings, seed: int, split: ClassSplit) -> Recipe:
    """The recipe of the fine-tuning, with a quarter of the learning rate."""
    recipe = _scratch(dataset, settings, 1, seed, split)
    slower = recipe.optimizer.model_copy(update={"learning_rate": recipe.optimizer.learning_rate / 4})
    weights = Initialization(weights=weights_of(PRETRAINED), head="zero")
    return recipe.model_copy(update={"optimizer": slower, "initialization": weights})


def _probe(dataset: Dataset, settings: Settings, seed: int, split: ClassSplit) -> LinearProbeRecipe:
    return LinearProbeRecipe(
        model=settings.model,
        data=dataset.name,
        seed=seed,
        initialization=Initialization(weights=weights_of(PRETRAINED)),
        subset=_few(settings, seed, split),
        validation_share=0.25,
        linear_probe=RidgeSettings(),
    )


def _require_shots(dataset: Dataset, shots: int) -> None:
    train = dataset.merge_validation().splits["train"]
    counts = np.bincount(train.labels, minlength=len(dataset.classes))
    fewest = int(counts.argmin())
    if counts[fewest] < shots:
        raise UserError(
            f'{dataset.name} has {counts[fewest]} training images of "{dataset.classes[fewest]}", but the study needs '
            f"{shots} of each new class: give a dataset with more images, or fewer --shots."
        )
