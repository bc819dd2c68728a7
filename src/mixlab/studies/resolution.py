"""How does a change of the image size affect the accuracy of a Mixer, before and after fine-tuning?

A Mixer is trained at 16 px and resized to 32 px in two ways (exact, resampled) and to 24 px (resampled). It is compared
with the model at 16 px, with and without the same fine-tuning, and with models trained from scratch at the new size,
for as many epochs as the fine-tuning and for as many epochs as training and fine-tuning together.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool

from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.dataset import Dataset
from mixlab.models.contract import height_and_width
from mixlab.report.table import Column
from mixlab.report.text import join_words, pluralize
from mixlab.stats.estimate import Estimate
from mixlab.stats.paired import crossed_interval
from mixlab.studies.answers import correct_of
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import Arm, ArmsResult
from mixlab.studies.initial_weights import weights_of
from mixlab.studies.result import Claim
from mixlab.training.recipes.schema import Initialization, Optimizer, Recipe, Schedule, Subset
from mixlab.weights.adapt import Resize
from mixlab.weights.load import build_with_weights, load_pretrained
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


def from_scratch(size: int, epochs: int) -> str:
    """The name of the arm from scratch."""
    return f"from scratch, {size} px, {pluralize(epochs, 'epoch')}"


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


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """The first training, the fine-tunings that start from it, and models from scratch."""
    sizes: dict[str, tuple[Resize | None, int]] = {TRAINED_FURTHER: (None, SMALL)}
    sizes |= {tuned(way, size): (way, size) for way, size in WAYS}
    recipes = {UNCHANGED: partial(_recipe, dataset, settings, SMALL, settings.epochs)}
    recipes |= {name: partial(_tuning, dataset, settings, way, size) for name, (way, size) in sizes.items()}
    recipes |= {
        from_scratch(size, epochs): partial(_recipe, dataset, settings, size, epochs)
        for size, epochs in _scratch(settings)
    }
    return {name: [recipe(seed) for seed in range(settings.seeds)] for name, recipe in recipes.items()}


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """All trained arms, and the first training after a change of the size without fine-tuning."""
    found = {name: _trained_arm(trained, name) for name in trained.runs}
    found |= {not_tuned(way, size): _resized_arm(trained, way, size) for way, size in WAYS}
    scratch = [from_scratch(size, epochs) for size, epochs in _scratch(settings)]
    order = [UNCHANGED, TRAINED_FURTHER, *(name(*way) for way in WAYS for name in (not_tuned, tuned)), *scratch]
    return trained.result(
        title="How does a change of the image size affect the accuracy of a Mixer?",
        command="mixlab study resolution",
        settings=settings,
        claims=CLAIMS,
        arms=tuple(found[name] for name in order),
        top1_interval="seeds and test images",
        pairs=(
            (tuned("exact", LARGE), tuned("resampled", LARGE)),
            *(claim.contrast for claim in CLAIMS),
            *((tuned(way, size), name) for way, size in WAYS for name in scratch if f" {size} px" in name),
        ),
        columns=(Column("macs", "MACs", "M", digits=1),),
        protocol=_protocol(trained, settings),
        notes=(
            "Differences are paired by seed.",
            *(
                f"{arm.name}: the logits of a constant image change by {np.mean(arm.details['constant_image']):.2g} % "
                "(mean over seeds)."
                for arm in found.values()
                if "constant_image" in arm.details
            ),
        ),
    )


def _protocol(trained: TrainedArms, settings: Settings) -> str:
    """Sentences of the methods paragraph."""
    first, tuning = trained.trainings[UNCHANGED][0], trained.trainings[TRAINED_FURTHER][0]
    scratch = [trained.trainings[from_scratch(LARGE, epochs)][0].steps for _, epochs in _scratch(settings)[:2]]
    return (
        f"In each of {pluralize(settings.seeds, 'repetition')}, mixlab's mixer_nano was trained on "
        f"{len(first.job.dataset.splits['train']):,} images of {trained.dataset.name} at {SMALL} pixels for "
        f"{pluralize(first.steps, 'step')}. Its token MLPs were changed for {LARGE} and {BETWEEN} pixels, and it was "
        f"evaluated at once, and after {pluralize(tuning.steps, 'step')} of fine-tuning with a quarter of the learning "
        f"rate; without a change, it was trained further as long. Models from scratch at {LARGE} and {BETWEEN} pixels "
        f"were trained for {join_words([f'{steps:,}' for steps in scratch])} steps. The weights of the last step were "
        f"evaluated in fp32 on the {len(trained.dataset.splits['test']):,} test images, without selection."
    )


def _scratch(settings: Settings) -> list[tuple[int, int]]:
    """The sizes and epochs of the models from scratch."""
    after = settings.tuning_epochs
    return [(size, epochs) for size in (LARGE, BETWEEN) for epochs in (after, settings.epochs + after)]


def _recipe(dataset: Dataset, settings: Settings, image_size: int, epochs: int, seed: int) -> Recipe:
    per_class = max(settings.images // len(dataset.classes), 1)
    return Recipe(
        model="mixer_nano",
        data=dataset.name,
        image_size=image_size,
        epochs=epochs,
        batch=128,
        seed=seed,
        validation="merged",
        subset=Subset(per_class=per_class, seed=seed),
        optimizer=Optimizer(learning_rate=2e-3, weight_decay=0.5, clip_norm=1.0),
        schedule=Schedule(warmup=0.1),
        augmentation=Augmentation(flip=True, pad_crop=2),
    )


def _tuning(dataset: Dataset, settings: Settings, way: Resize | None, size: int, seed: int) -> Recipe:
    """The recipe of the fine-tuning, with a quarter of the learning rate."""
    recipe = _recipe(dataset, settings, size, settings.tuning_epochs, seed)
    slower = recipe.optimizer.model_copy(update={"learning_rate": recipe.optimizer.learning_rate / 4})
    weights = Initialization(weights=weights_of(UNCHANGED), resize=way, head="keep")
    return recipe.model_copy(update={"optimizer": slower, "initialization": weights})


def _trained_arm(trained: TrainedArms, name: str) -> Arm:
    """The arm with an interval over seeds and test images."""
    correct = np.concatenate([predictions.correct for predictions in trained.predictions(name)])
    arm = trained.arm(name)
    image_size = trained.trainings[name][0].job.architecture.image_size
    return replace(arm, top1=_top1(correct), details={**arm.details, "image_size": image_size})


def _resized_arm(trained: TrainedArms, way: Resize, size: int) -> Arm:
    """The first training at another size, without fine-tuning."""
    before = [load_pretrained(run.path) for run in trained.runs[UNCHANGED]]
    models = [load_pretrained(run.path, image_size=size, resize=way) for run in trained.runs[UNCHANGED]]
    correct = np.stack([correct_of(model, trained.dataset) for model in models])
    name, scores, macs = not_tuned(way, size), tuple(100 * correct.mean(axis=1)), models[0].weights.architecture.macs
    trained.log(f"{name}: {', '.join(f'{score:.1f}' for score in scores)} %")
    changes = [
        constant_image_difference(build_with_weights(a.weights), build_with_weights(b.weights))
        for a, b in zip(before, models, strict=True)
    ]
    details = {"macs": macs, "image_size": size, "constant_image": changes}
    return Arm(name, scores, _top1(correct), {"macs": macs / 1e6}, details)


def _top1(correct: Bool[np.ndarray, "seed image"]) -> Estimate:
    return replace(crossed_interval(correct), n=len(correct))


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
