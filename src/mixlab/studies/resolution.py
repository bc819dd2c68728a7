"""How does a change of the image size affect the accuracy of a Mixer, before and after fine-tuning?

A Mixer is trained at 16 px and resized to 32 px in two ways (exact, resampled) and to 24 px (resampled). It is compared
with the model at 16 px, with and without the same fine-tuning, and with models trained from scratch at the new size,
for as many epochs as the fine-tuning and for as many epochs as training and fine-tuning together.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool

from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.dataset import Dataset
from mixlab.measure import machine
from mixlab.models.contract import height_and_width
from mixlab.report.table import Column
from mixlab.report.text import pluralize
from mixlab.runs.folder import Run
from mixlab.stats.paired import crossed_interval
from mixlab.studies.arms import correct_of, train_arms
from mixlab.studies.arms_result import Arm, ArmsResult
from mixlab.studies.result import Claim
from mixlab.training.recipes.schema import Initialization, Optimizer, Recipe, Schedule, Subset
from mixlab.weights.adapt import Resize
from mixlab.weights.load import Pretrained, build_with_weights, load_pretrained
from mixlab.zoo.architecture import Model

COST = "5 trainings of 10 epochs, and 40 of 1 to 11 epochs"

SMALL, LARGE, BETWEEN = 16, 32, 24  # pixels
WAYS: tuple[tuple[Resize, int], ...] = (("exact", LARGE), ("resampled", LARGE), ("resampled", BETWEEN))
UNCHANGED, TRAINED_FURTHER = f"unchanged, {SMALL} px", f"trained further, {SMALL} px"


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    seeds: int = field(default=5, metadata={"help": "Trainings of each arm.", "min": 2})
    epochs: int = field(default=10, metadata={"help": "Epochs before the size changes.", "min": 1})
    images: int = field(default=20_000, metadata={"help": "Maximum training images, balanced by class.", "min": 1})
    tuning_epochs: int = field(default=1, metadata={"help": "Epochs after the size changes.", "min": 1})


def not_tuned(way: Resize, size: int) -> str:
    """The name of the arm without fine-tuning."""
    return f"{way}, {size} px, not fine-tuned"


def tuned(way: Resize, size: int) -> str:
    """The name of the fine-tuned arm."""
    return f"{way}, {size} px, fine-tuned"


CLAIMS = tuple(
    Claim(
        statement=f"Fine-tuning at {size} px ({way}) is better than the same fine-tuning at {SMALL} px.",
        contrast=(tuned(way, size), TRAINED_FURTHER),
        expected="higher",
        source="Tolstikhin et al. 2021, table 3: L/16 at 448 px 83.91 %, at 224 px 82.89 %",
        regime="the source fine-tunes large models on ImageNet at twice 224 px; this study a nano model on tiny images",
    )
    for way, size in WAYS
)


def run(dataset: Dataset, settings: Settings, *, quiet: bool, log: Callable[[str], None]) -> ArmsResult:
    """Train, resize, fine-tune and evaluate with every seed."""
    seeds, first, after = range(settings.seeds), settings.epochs, settings.tuning_epochs
    scratch = {
        f"from scratch, {size} px, {pluralize(epochs, 'epoch')}": [
            _recipe(dataset, settings, seed, size, epochs) for seed in seeds
        ]
        for size in (LARGE, BETWEEN)
        for epochs in dict.fromkeys((after, first + after))
    }
    before_name = "before"
    started = {before_name: [_recipe(dataset, settings, seed, SMALL, first) for seed in seeds], **scratch}
    runs = train_arms(started, dataset, log=log, quiet=quiet)
    before = runs.pop(before_name)
    sizes = {TRAINED_FURTHER: (None, SMALL), **{tuned(way, size): (way, size) for way, size in WAYS}}
    after_change = {
        name: [_tuning(dataset, settings, run, seed, way, size) for seed, run in enumerate(before)]
        for name, (way, size) in sizes.items()
    }
    runs |= train_arms(after_change, dataset, log=log, quiet=quiet)
    models: dict[str, list[Pretrained]] = {UNCHANGED: [load_pretrained(run.path) for run in before]}
    for way, size in WAYS:
        models[not_tuned(way, size)] = [load_pretrained(run.path, image_size=size, resize=way) for run in before]
    models |= {name: [load_pretrained(run.path) for run in arm_runs] for name, arm_runs in runs.items()}
    arms, resized = [], [not_tuned(way, size) for way, size in WAYS]
    for name, arm_models in models.items():
        arms.append(_arm(name, arm_models, models[UNCHANGED], dataset, resized=name in resized))
        log(f"{name}: {', '.join(f'{score:.1f}' for score in arms[-1].scores)} %")
    order = [
        UNCHANGED,
        TRAINED_FURTHER,
        *(name(way, size) for way, size in WAYS for name in (not_tuned, tuned)),
        *scratch,
    ]
    by_name = {arm.name: arm for arm in arms}
    return ArmsResult(
        title="How does a change of the image size affect the accuracy of a Mixer?",
        command="mixlab study resolution",
        data=dataset.name,
        settings=settings,
        arms=tuple(by_name[name] for name in order),
        claims=CLAIMS,
        environment=machine.describe(),
        top1_interval="seeds and test images",
        pairs=(
            (tuned("exact", LARGE), tuned("resampled", LARGE)),
            *(claim.contrast for claim in CLAIMS),
            *((tuned(way, size), name) for way, size in WAYS for name in scratch if f" {size} px" in name),
        ),
        columns=(Column("macs", "MACs", "M", digits=1),),
        notes=(
            "Differences are paired by seed and test image.",
            *(
                f"{arm.name}: the logits of a constant image change by {np.mean(arm.details['constant_image']):.2g} % "
                "(mean over seeds)."
                for arm in arms
                if "constant_image" in arm.details
            ),
        ),
        facts={"Evaluated in": "fp32"},
        recipes={"the first training": before[0].recipe, "fine-tuning": runs[tuned("exact", LARGE)][0].recipe},
        plans={"all trainings": before[0].plan},
    )


def _recipe(dataset: Dataset, settings: Settings, seed: int, image_size: int, epochs: int) -> Recipe:
    per_class = max(settings.images // len(dataset.classes), 1)
    return Recipe(
        model="mixer_nano",
        data=dataset.name,
        image_size=image_size,
        epochs=epochs,
        batch=128,
        seed=seed,
        validation="merged",
        subset=Subset(per_class=per_class),
        optimizer=Optimizer(learning_rate=2e-3, weight_decay=0.5, clip_norm=1.0),
        schedule=Schedule(warmup=0.1),
        augmentation=Augmentation(flip=True, pad_crop=2),
    )


def _tuning(dataset: Dataset, settings: Settings, before: Run, seed: int, way: Resize | None, size: int) -> Recipe:
    """The recipe of the fine-tuning, with a quarter of the learning rate."""
    recipe = _recipe(dataset, settings, seed, size, settings.tuning_epochs)
    slower = recipe.optimizer.model_copy(update={"learning_rate": recipe.optimizer.learning_rate / 4})
    weights = Initialization(weights=str(before.path), resize=way, head="keep")
    return recipe.model_copy(update={"optimizer": slower, "initialization": weights})


def _arm(name: str, models: list[Pretrained], before: list[Pretrained], dataset: Dataset, *, resized: bool) -> Arm:
    correct: Bool[np.ndarray, "seed image"] = np.stack([correct_of(model, dataset) for model in models])
    macs = models[0].weights.architecture.macs
    details: dict[str, object] = {"macs": macs, "image_size": models[0].weights.config["image_size"]}
    if resized:
        details["constant_image"] = [
            constant_image_difference(build_with_weights(a.weights), build_with_weights(b.weights))
            for a, b in zip(before, models, strict=True)
        ]
    top1 = replace(crossed_interval(correct), n=len(models))
    return Arm(name, tuple(100 * correct.mean(axis=1)), top1, {"macs": macs / 1e6}, details)


def constant_image_difference(before: Model, after: Model) -> float:
    """The largest change of a logit for a constant image, in per cent of the largest logit.

    It is 0 for an exact change of the size: the patches of a constant image are the same, only their number differs.
    """
    with torch.no_grad():
        logits, logits_after = (
            model(torch.full((1, model.config.image_channels, *height_and_width(model.config.image_size)), 0.5))
            for model in (before, after)
        )
    return 100 * float((logits_after - logits).abs().max() / logits.abs().max())
