"""What a change of resolution costs a Mixer: accuracy at once, after a little fine-tuning, and against other ways.

A Mixer is trained on images of 16 px and taken to 32 px both ways (exactly, resampled) and to 24 px (resampled).
Beside them stand the model as it was, with its input at 16 px, also trained on there, and models from scratch at the
new size, for as many steps as the fine-tuning and for as many as all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool

from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.batches import EvalBatches
from mixlab.data.dataset import Dataset
from mixlab.evaluation.evaluate import evaluate, predict_fn
from mixlab.measure import machine
from mixlab.models.contract import height_and_width
from mixlab.report.page import Metric, Page, Summary
from mixlab.report.table import Column, Table
from mixlab.report.text import join_words, pluralize
from mixlab.runs.store import finished_run
from mixlab.speed.plan import ComputeMode, Plan, prepare_model
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.stats.paired import crossed_interval
from mixlab.studies.study import Study
from mixlab.training.job import Job, resolve
from mixlab.training.loop import train
from mixlab.training.planning.autotune import cached_plan
from mixlab.training.recipes.schema import Optimizer, Recipe, Schedule
from mixlab.weights.adapt import Resize, Weights, resize_input
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.zoo.build import Model, macs_of

SMALL, LARGE, BETWEEN = 16, 32, 24  # pixels
_WAYS: tuple[tuple[Resize, int], ...] = (("exact", LARGE), ("resampled", LARGE), ("resampled", BETWEEN))
_AS_IT_WAS, _TRAINED_ON = f"as it was, {SMALL} px", f"trained on, {SMALL} px"
_EVALUATED = 256  # images a batch


@dataclass(frozen=True)
class ResolutionSettings:
    seeds: int = 5
    images: int = 20_000  # to train on at most, equally many of each class
    epochs: int = 10  # before the size changes
    tuning_epochs: int = 1  # after it


@dataclass(frozen=True)
class Arm:
    """One way to a model, and its answers: whether each test image was right."""

    name: str
    image_size: int  # at which it is judged
    epochs: int  # of training at that size
    macs: int  # of one image, forward
    correct: Bool[np.ndarray, "seed image"]
    moved: tuple[float, ...] = ()  # by the change of size: a constant image's logits, in per cent, one a seed

    @property
    def top1(self) -> Estimate:
        return crossed_interval(self.correct)

    def against(self, other: Self) -> Estimate:
        """The difference in points, seed by seed on the same test images; Student's t over the seeds."""
        return mean_interval(100 * (self.correct.mean(axis=1) - other.correct.mean(axis=1)), "points")

    def result(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "image_size": self.image_size,
            "epochs": self.epochs,
            "macs": self.macs,
            "by_seed": (100 * self.correct.mean(axis=1)).tolist(),
            "grey_moved": list(self.moved),
        }


@dataclass(frozen=True, kw_only=True)
class Resolution(Study[Arm]):
    repeats = "seeds"
    top1_is_over = "seeds and test images"

    settings: ResolutionSettings

    @property
    def pairs(self) -> list[tuple[Arm, Arm]]:
        """What the study asks: the ways beside each other, beside staying, and beside starting anew."""
        exact, resampled, between = (self[_tuned(way, size)] for way, size in _WAYS)
        anew = {
            size: [arm for arm in self.arms if arm.image_size == size and arm.name.startswith("from scratch")]
            for size in (LARGE, BETWEEN)
        }
        stayed = self[_TRAINED_ON]
        return [
            (exact, resampled),
            *((tuned, stayed) for tuned in (exact, resampled, between)),
            *((tuned, other) for tuned in (exact, resampled, between) for other in anew[tuned.image_size]),
        ]

    def table(self) -> Table:
        reference = self[_AS_IT_WAS]
        return Table(
            f"A Mixer's resolution on {self.data}",
            [
                Column("name", "model"),
                Column("epochs", "epochs at that size"),
                Column("macs", "MACs", "M", digits=1),
                Column("top1", "top-1", "%", digits=1),
                Column("difference", "against as it was", "points", digits=1, uncertainty="interval"),
            ],
            [
                {
                    "name": arm.name,
                    "epochs": arm.epochs,
                    "macs": arm.macs / 1e6,
                    "top1": arm.top1,
                    "difference": None if arm is reference else arm.against(reference),
                }
                for arm in self.arms
            ],
            notes=[
                f"{self.settings.seeds} seeds; {self.images:,} training and {reference.correct.shape[1]:,} test "
                "images. ± is the standard deviation of the seeds.",
                "Differences are taken seed by seed on the same test images; the 95 % intervals are over seeds.",
                *(
                    f"{arm.name}: a constant image's logits move by {np.mean(arm.moved):.2g} % (mean over the seeds)."
                    for arm in self.arms
                    if arm.moved
                ),
            ],
        )

    def page(self) -> Page:
        stayed = self[_TRAINED_ON]
        tuned = {f"{way} to {size} px": self[_tuned(way, size)] for way, size in _WAYS}
        ahead = [way for way, arm in tuned.items() if (arm.against(stayed).low or 0) > 0]
        who = f"{join_words(ahead)} {'is' if len(ahead) == 1 else 'are'}" if ahead else "no way is certainly"
        return self._page(
            "What does a change of resolution cost a Mixer?",
            f"mixlab study resolution: {self.data}, {self.settings.seeds} seeds",
            Summary(
                f"After {pluralize(self.settings.tuning_epochs, 'epoch')} at the new size, {who} ahead of the model "
                f"that stayed at {SMALL} px for as many steps.",
                "Taken there: "
                + join_words(list(tuned))
                + ". The model that stayed sees images reduced to the size that "
                "it knows. Ahead: the 95 % interval of the difference lies above 0.",
                [Metric(arm.name, arm.top1, 1) for arm in (stayed, *tuned.values())],
            ),
            {"Judged": "fp32, contiguous"},
        )


def resolution(
    dataset: Dataset, settings: ResolutionSettings, *, quiet: bool, log: Callable[[str], None]
) -> Resolution:
    """Train, resize, judge; what is in the store is not trained again."""
    dataset = _subset(dataset.merge_validation(), settings.images)
    bench = _Bench(dataset, settings, log, quiet=quiet)
    seeds: list[list[Arm]] = []
    for seed in range(settings.seeds):
        seeds.append(bench.one_seed(seed))
        for arm in seeds[-1]:
            log(f"seed {seed}, {arm.name}: {100 * arm.correct.mean():.1f} %")
    return Resolution(
        data=dataset.name,
        images=len(dataset.splits["train"]),
        settings=settings,
        arms=tuple(_joined(arms) for arms in zip(*seeds, strict=True)),
        environment=machine.describe(bench.device),
        recipes={
            "before": bench.recipe(0, SMALL, settings.epochs),
            "after": bench.recipe(0, LARGE, settings.tuning_epochs, tuned=True),
        },
        plans={f"{size} px, token_hidden {hidden}": plan for (size, hidden), plan in bench.plans.items()},
    )


class _Bench:
    """Trains and judges on one dataset; one plan for each image size and width, decided once."""

    def __init__(self, dataset: Dataset, settings: ResolutionSettings, log: Callable[[str], None], *, quiet: bool):
        self.dataset, self.settings, self.log, self.quiet = dataset, settings, log, quiet
        self.device = machine.pick_device()
        self.plans: dict[tuple[int, int], Plan] = {}

    def recipe(self, seed: int, image_size: int, epochs: int, *, tuned: bool = False) -> Recipe:
        """Fine-tuning starts at a quarter of the rate."""
        return Recipe(
            model="mixer_nano",
            data=self.dataset.name,
            image_size=image_size,
            epochs=epochs,
            batch=128,
            seed=seed,
            optimizer=Optimizer(learning_rate=5e-4 if tuned else 2e-3, weight_decay=0.5, clip_norm=1.0),
            schedule=Schedule(warmup=0.1),
            augmentation=Augmentation(flip=True, pad_crop=2),
        )

    def one_seed(self, seed: int) -> list[Arm]:
        """Every arm, with the answers of this seed's models alone."""
        first, after = self.settings.epochs, self.settings.tuning_epochs
        before = self.trained(self.recipe(seed, SMALL, first))
        arms = [
            self.evaluated(_AS_IT_WAS, before, first),
            self.evaluated(_TRAINED_ON, self.tuned(seed, before), first + after),
        ]
        for way, size in _WAYS:
            resized = resize_input(before, size, way, window=None)
            moved = moved_on_grey(build_with_weights(before), build_with_weights(resized))
            arms.append(replace(self.evaluated(f"{way}, {size} px, at once", resized, 0), moved=(moved,)))
            arms.append(self.evaluated(_tuned(way, size), self.tuned(seed, resized), after))
        for size in (LARGE, BETWEEN):
            for epochs in (after, first + after):
                fresh = self.trained(self.recipe(seed, size, epochs))
                arms.append(self.evaluated(f"from scratch, {size} px, {pluralize(epochs, 'epoch')}", fresh, epochs))
        return arms

    def tuned(self, seed: int, weights: Weights) -> Weights:
        size = weights.config["image_size"]
        return self.trained(self.recipe(seed, size, self.settings.tuning_epochs, tuned=True), weights)

    def trained(self, recipe: Recipe, weights: Weights | None = None) -> Weights:
        job = resolve(recipe, self.dataset, self.device)
        if weights is not None:
            job = replace(job, weights=weights, config=weights.config)
        folder = job.folder(plan := self.plan(job))
        run = finished_run(folder) or train(job, plan, folder, quiet=self.quiet)
        return load_pretrained(run.path).weights

    def plan(self, job: Job) -> Plan:
        key = (job.preprocess.image_size[0], job.config["token_hidden"])
        if key not in self.plans:
            self.plans[key], _ = cached_plan(replace(job, weights=None), self.log)
        return self.plans[key]

    def evaluated(self, name: str, weights: Weights, epochs: int) -> Arm:
        """In fp32, so that what is exact is seen to be."""
        size = weights.config["image_size"]
        preprocess = resolve(self.recipe(0, size, 1), self.dataset, self.device).preprocess
        batches = EvalBatches(self.dataset.splits["test"], preprocess, batch=_EVALUATED, quiet=True)
        model = build_with_weights(weights)
        found = evaluate(
            predict_fn(prepare_model(model, self.device, ComputeMode()), self.device, ComputeMode()),
            batches,
            self.dataset.classes,
        )
        return Arm(name, size, epochs, macs_of(model), (found.predictions == found.labels)[None])


def moved_on_grey(before: Model, after: Model) -> float:
    """How far the logits of a constant image move from `before` to `after`, in per cent of the largest of them.

    Were a change of size exact, then by nothing: both see the same field, in fewer patches or in more.
    """
    with torch.no_grad():
        logits, moved = (
            model(torch.full((1, model.config.image_channels, *height_and_width(model.config.image_size)), 0.5))
            for model in (before, after)
        )
    return 100 * float((moved - logits).abs().max() / logits.abs().max())


def _joined(arms: Sequence[Arm]) -> Arm:
    """One arm of several seeds."""
    return replace(
        arms[0],
        correct=np.concatenate([arm.correct for arm in arms]),
        moved=tuple(moved for arm in arms for moved in arm.moved),
    )


def _tuned(way: Resize, size: int) -> str:
    return f"{way}, {size} px, tuned"


def _subset(dataset: Dataset, images: int) -> Dataset:
    """As many of each class as `images` allow, drawn once."""
    split, draw = dataset.splits["train"], np.random.default_rng(0)
    each = max(images // len(dataset.classes), 1)
    recommendation_summary = [
        draw.permutation(np.flatnonzero(split.labels == label))[:each] for label in range(len(dataset.classes))
    ]
    return replace(
        dataset, splits={**dataset.splits, "train": split.subset(np.sort(np.concatenate(recommendation_summary)))}
    )
