"""What a change of resolution costs a Mixer: accuracy at once, after a little fine-tuning, and against other ways.

A Mixer is trained on pictures of 16 px and taken to 32 px both ways (exactly, resampled) and to 24 px (resampled).
Beside them stand the model as it was, with its input at 16 px, and fresh models at the new size, for as many steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np
from jaxtyping import Bool

from mixlab.data.augment import Augmentation
from mixlab.data.batches import JudgingBatches
from mixlab.data.dataset import Dataset
from mixlab.evaluation.evaluate import answers_of, evaluate
from mixlab.evidence.estimate import Estimate
from mixlab.evidence.intervals import mean_interval
from mixlab.evidence.paired import crossed_interval
from mixlab.measure import machine
from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.page import Answer, Facts, KeyFigure, Page, Section
from mixlab.report.rows import intervals
from mixlab.report.table import Column, Table
from mixlab.runs.store import finished_run
from mixlab.speed.plan import Mode, Plan, placed
from mixlab.studies.trainings import nothing_selected
from mixlab.training.loop import train
from mixlab.training.prepare import Job, decide_plan, resolve
from mixlab.training.recipe import Optimizer, Recipe, Schedule
from mixlab.zoo.adapt import Resize, Weights, at_size
from mixlab.zoo.load import open_weights

SMALL, LARGE, BETWEEN = 16, 32, 24  # pixels
_WAYS: tuple[tuple[Resize, int], ...] = (("exact", LARGE), ("resampled", LARGE), ("resampled", BETWEEN))
_REFERENCE = "as it was, 16 px"
_JUDGED = 256  # pictures a batch


@dataclass(frozen=True)
class ResolutionTerms:
    seeds: int = 5
    pictures: int = 20_000  # to train on, equally many of each class
    epochs: int = 10  # before the size changes
    tuning_epochs: int = 1  # after it


@dataclass(frozen=True)
class Arm:
    """One way to a model, and its answers: whether each test picture was right, (seed, picture)."""

    name: str
    image_size: int
    epochs: float  # at the size it is judged at
    correct: Bool[np.ndarray, "seed picture"]

    @property
    def top1(self) -> Estimate:
        return crossed_interval(self.correct)


@dataclass(frozen=True)
class Resolution:
    data: str
    terms: ResolutionTerms
    arms: tuple[Arm, ...]
    environment: Mapping[str, Any]
    recipes: Mapping[str, Recipe]

    def arm(self, name: str) -> Arm:
        (found,) = (arm for arm in self.arms if arm.name == name)
        return found

    def against(self, arm: Arm, other: Arm) -> Estimate:
        """The difference in points, seed by seed on the same test pictures; Student's t over the seeds."""
        return mean_interval(100 * (arm.correct.mean(axis=1) - other.correct.mean(axis=1)), "points")

    def table(self) -> Table:
        reference = self.arm(_REFERENCE)
        return Table(
            f"A Mixer's resolution on {self.data}",
            [
                Column("name", "model"),
                Column("image_size", "judged at", "px"),
                Column("epochs", "epochs at that size"),
                Column("top1", "top-1", "%", digits=1),
                Column("difference", "against the model as it was", "points", digits=1),
            ],
            [
                {
                    "name": arm.name,
                    "image_size": arm.image_size,
                    "epochs": arm.epochs,
                    "top1": arm.top1,
                    "difference": None if arm is reference else self.against(arm, reference),
                }
                for arm in self.arms
            ],
            notes=[
                f"{self.terms.seeds} seeds, {self.terms.pictures:,} training pictures, "
                f"{self.arms[0].correct.shape[1]:,} test pictures. Top-1: 95 % over seeds and pictures. Differences: "
                "seed by seed on the same pictures, 95 % over seeds."
            ],
        )

    def figure(self) -> Figure:
        return intervals(
            "Top-1 of each way",
            {arm.name: arm.top1 for arm in self.arms},
            Axis("Top-1", "%", "higher", digits=1),
            caption="Points are means over the seeds, lines 95 % intervals over seeds and test pictures.",
        )

    def page(self) -> Page:
        best = max((arm for arm in self.arms if arm.image_size != SMALL), key=lambda arm: arm.top1.value)
        reference = self.arm(_REFERENCE)
        return Page(
            title="What does a change of resolution cost a Mixer?",
            kicker=f"mixlab study resolution: {self.data}, {self.terms.seeds} seeds",
            answer=Answer(
                f"Of the ways to another size, {best.name} came furthest.",
                "Every way is set beside the model as it was, asked with its input reduced to the size that it knows.",
                [KeyFigure(best.name, best.top1, 1), KeyFigure(reference.name, reference.top1, 1)],
            ),
            sections=[
                Section("Every way", [self.table(), self.figure()]),
                Section(
                    "What ran",
                    [
                        Facts(
                            {
                                "Device": self.environment["device"],
                                "Commit": self.environment["commit"] or "unknown",
                                **{name: str(recipe.to_dict()) for name, recipe in self.recipes.items()},
                            }
                        )
                    ],
                ),
            ],
            footer=f"Written by mixlab {self.environment['versions']['mixlab']} on {date.today():%Y-%m-%d}.",
        )

    def results(self) -> dict[str, Any]:
        """results.json."""
        reference = self.arm(_REFERENCE)
        return {
            "schema": 1,
            "data": self.data,
            "terms": asdict(self.terms),
            "environment": dict(self.environment),
            "recipes": {name: recipe.to_dict() for name, recipe in self.recipes.items()},
            "arms": [
                {
                    "name": arm.name,
                    "image_size": arm.image_size,
                    "epochs": arm.epochs,
                    "top1": asdict(arm.top1),
                    "by_seed": (100 * arm.correct.mean(axis=1)).tolist(),
                    "against_as_it_was": asdict(self.against(arm, reference)),
                }
                for arm in self.arms
            ],
        }


def resolution(dataset: Dataset, terms: ResolutionTerms, *, quiet: bool, say: Callable[[str], None]) -> Resolution:
    """Train, resize, judge; what is in the store is not trained again."""
    dataset = _subset(nothing_selected(dataset), terms.pictures)
    bench = _Bench(dataset, terms, quiet, say)
    correct: dict[str, list[np.ndarray]] = {}
    for seed in range(terms.seeds):
        for name, answers in bench.one_seed(seed).items():
            correct.setdefault(name, []).append(answers)
            say(f"seed {seed}, {name}: {100 * answers.mean():.1f} %")
    arms = tuple(Arm(name, *_sizes(name, terms), np.stack(rows)) for name, rows in correct.items())
    recipes = {
        "before": bench.recipe(0, SMALL, terms.epochs),
        "after": bench.recipe(0, LARGE, terms.tuning_epochs, tuned=True),
    }
    return Resolution(dataset.name, terms, arms, machine.describe(bench.device), recipes)


class _Bench:
    """Trains and judges on one dataset; one plan for each picture size, decided once."""

    def __init__(self, dataset: Dataset, terms: ResolutionTerms, quiet: bool, say: Callable[[str], None]):  # noqa: FBT001
        self.dataset, self.terms, self.quiet, self.say = dataset, terms, quiet, say
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

    def one_seed(self, seed: int) -> dict[str, np.ndarray]:
        """The answers of every arm."""
        terms = self.terms
        all_epochs = terms.epochs + terms.tuning_epochs
        before = self.trained(self.recipe(seed, SMALL, terms.epochs))
        arms = {_REFERENCE: self.judged(before)}
        arms["tuned on, 16 px"] = self.judged(self.tuned(seed, before))
        for way, size in _WAYS:
            resized = at_size(before, size, way, window=None)
            arms[f"{way}, {size} px, at once"] = self.judged(resized)
            arms[f"{way}, {size} px, tuned"] = self.judged(self.tuned(seed, resized))
        for size in (LARGE, BETWEEN):
            for epochs, name in ((terms.tuning_epochs, "as long as tuned"), (all_epochs, "as long as all")):
                arms[f"from scratch, {size} px, {name}"] = self.judged(self.trained(self.recipe(seed, size, epochs)))
        return arms

    def tuned(self, seed: int, weights: Weights) -> Weights:
        size = weights.config["image_size"]
        return self.trained(self.recipe(seed, size, self.terms.tuning_epochs, tuned=True), weights)

    def trained(self, recipe: Recipe, weights: Weights | None = None) -> Weights:
        job = resolve(recipe, self.dataset, self.device)
        if weights is not None:
            job = replace(job, weights=weights, config=weights.config)
        folder = job.folder(plan := self.plan(job))
        run = finished_run(folder) or train(job, plan, folder, quiet=self.quiet)
        return open_weights(run.path).weights

    def plan(self, job: Job) -> Plan:
        key = (job.config["token_hidden"], job.preprocess.image_size[0])
        if key not in self.plans:
            self.plans[key], _ = decide_plan(job, self.say)
        return self.plans[key]

    def judged(self, weights: Weights) -> Bool[np.ndarray, " picture"]:
        """In fp32, so that what is exact is seen to be."""
        job = replace(
            resolve(self.recipe(0, weights.config["image_size"], 1), self.dataset, self.device), weights=weights
        )
        batches = JudgingBatches(self.dataset.parts["test"], job.preprocess, batch=_JUDGED, quiet=True)
        answers = answers_of(placed(job.build(), self.device, Mode()), self.device, Mode())
        judged = evaluate(answers, batches, self.dataset.classes)
        return judged.predictions == judged.labels


def _sizes(name: str, terms: ResolutionTerms) -> tuple[int, float]:
    """The pixels, and the epochs that an arm of this name has seen at them."""
    size = next(size for size in (SMALL, LARGE, BETWEEN) if f"{size} px" in name)
    if "at once" in name:
        return size, 0
    if name == _REFERENCE:
        return size, terms.epochs
    if name.endswith("as long as all") or size == SMALL:
        return size, terms.epochs + terms.tuning_epochs
    return size, terms.tuning_epochs


def _subset(dataset: Dataset, pictures: int) -> Dataset:
    """Equally many of each class, drawn once."""
    part, draw = dataset.parts["train"], np.random.default_rng(0)
    each = pictures // len(dataset.classes)
    chosen = [draw.permutation(np.flatnonzero(part.labels == label))[:each] for label in range(len(dataset.classes))]
    return replace(dataset, parts={**dataset.parts, "train": part.subset(np.sort(np.concatenate(chosen)))})
