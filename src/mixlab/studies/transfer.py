"""Does what a model has learned carry over to classes that it never saw? Half of them are learned from many images,
then the other half from a few: by fine-tuning, by a head in closed form, and from scratch.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from mixlab.data.batches import EvalBatches
from mixlab.data.dataset import Dataset
from mixlab.data.holdout import group_samples
from mixlab.evaluation.evaluate import evaluate, predict_fn
from mixlab.evaluation.probes.ridge import LinearHead
from mixlab.measure import machine
from mixlab.report.page import Metric, Page, Summary
from mixlab.report.table import Column, Table
from mixlab.runs.folder import Run
from mixlab.runs.store import finished_run
from mixlab.speed.plan import ComputeMode, Plan, prepare_model
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval
from mixlab.studies.class_splits import SplitAssignment, check_enough, class_splits, of_classes
from mixlab.studies.study import Study
from mixlab.training.job import Job, resolve
from mixlab.training.linear_probe.recipe import LinearProbeRecipe, RidgeSettings
from mixlab.training.linear_probe.train import replace_head, resolve_linear_probe, train_linear_probe
from mixlab.training.loop import train
from mixlab.training.planning.autotune import cached_plan
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Optimizer, Recipe
from mixlab.weights.adapt import Weights
from mixlab.weights.load import build_with_weights, load_pretrained

MODEL = "davit_nano"
HEAD, TUNED, AS_LONG, LONGER = (
    "closed-form head",
    "fine-tuned",
    "from scratch, as long",
    "from scratch, 5 times as long",
)

_LONGER = 5
_BATCH, _FEW_BATCH = 64, 20
_TO_CHOOSE_ON = 1 / 4  # of the few images, for the ridge and the temperature of the head
_EVALUATED = 256  # images a batch


@dataclass(frozen=True)
class TransferSettings:
    seeds: int = 5  # class splits
    images: int = 25_000  # to pre-train on at most, equally many of each class
    epochs: int = 10  # of pre-training
    shots: int = 20  # images of each new class
    tuning_epochs: int = 40


@dataclass(frozen=True)
class Arm:
    """One way to the new classes; `accuracies` in per cent, one a class split, on all test images of its classes."""

    name: str
    epochs: int  # over the few images
    accuracies: tuple[float, ...]

    @property
    def top1(self) -> Estimate:
        return mean_interval(self.accuracies, "%")

    def against(self, other: Self) -> Estimate:
        """The difference in points, split by split on the same images; Student's t over the splits."""
        return mean_interval(np.subtract(self.accuracies, other.accuracies), "points")

    def result(self) -> dict[str, Any]:
        return {"name": self.name, "epochs": self.epochs, "by_split": list(self.accuracies)}


@dataclass(frozen=True, kw_only=True)
class Transfer(Study[Arm]):
    repeats = "class splits"
    top1_is_over = "them"

    settings: TransferSettings
    splits: tuple[SplitAssignment, ...]

    @property
    def pairs(self) -> list[tuple[Arm, Arm]]:
        head, tuned, *scratch = (self[name] for name in (HEAD, TUNED, AS_LONG, LONGER))
        return [(tuned, head), *((carried, anew) for carried in (tuned, head) for anew in scratch)]

    def table(self) -> Table:
        return Table(
            f"New classes of {self.data} from {self.settings.shots} images each",
            [
                Column("name", MODEL),
                Column("epochs", "epochs over them"),
                Column("top1", "top-1", "%", digits=1),
            ],
            [{"name": arm.name, "epochs": arm.epochs, "top1": arm.top1} for arm in self.arms],
            notes=[
                f"{self.settings.seeds} splits of the classes into known and new ones. All but the models from scratch "
                f"were trained before, {self.settings.epochs} epochs on {self.images:,} images of the known classes.",
                "The head is fitted to three quarters of the few images; its ridge and its temperature are chosen on "
                "the others. The other ways learn from all of them, and nothing is selected.",
                "± is the standard deviation over the splits. They share classes and images, so the intervals "
                "are about other splits of this set, not about other sets.",
            ],
        )

    def page(self) -> Page:
        scratch = (self[AS_LONG], self[LONGER])
        ahead = [name for name in (TUNED, HEAD) if all((self[name].against(anew).low or 0) > 0 for anew in scratch)]
        match ahead:
            case []:
                who = "neither fine-tuning nor the closed-form head is certainly"
            case [one]:
                who = f"only the {one} model is" if one == TUNED else f"only the {one} is"
            case _:
                who = "fine-tuning and the closed-form head are both"
        splits = {
            f"Split {number}": f"{', '.join(split.known)} → {', '.join(split.new)}"
            for number, split in enumerate(self.splits, start=1)
        }
        return self._page(
            "Does knowledge carry over to classes that were never seen?",
            f"mixlab study transfer: {self.data}, {self.settings.seeds} class splits",
            Summary(
                f"With {self.settings.shots} images of each new class {who} ahead of starting from scratch.",
                "The two ways: fine-tuning all weights, and a head in closed form. Ahead: the 95 % intervals of the "
                f"differences to both models from scratch, trained as long and {_LONGER} times as long, lie above 0.",
                [Metric(arm.name, arm.top1, 1) for arm in self.arms],
            ),
            splits,
        )

    def results(self) -> dict[str, Any]:
        return super().results() | {"model": MODEL, "splits": [asdict(split) for split in self.splits]}


def transfer(dataset: Dataset, settings: TransferSettings, *, quiet: bool, log: Callable[[str], None]) -> Transfer:
    """Train, transfer, judge; what is in the store is not trained again. Raises UserError."""
    dataset = dataset.merge_validation()
    splits = class_splits(dataset, settings.seeds)
    check_enough(dataset, settings.shots)
    bench = _Bench(dataset, settings, log, quiet=quiet)
    found: list[list[Arm]] = []
    for seed, split in enumerate(splits):
        found.append(bench.one_split(seed, split))
        for arm in found[-1]:
            log(f"split {seed + 1}, {arm.name}: {arm.accuracies[0]:.1f} %")
    return Transfer(
        data=dataset.name,
        images=bench.images,
        settings=settings,
        splits=tuple(splits),
        arms=tuple(
            replace(arms[0], accuracies=tuple(arm.accuracies[0] for arm in arms)) for arms in zip(*found, strict=True)
        ),
        environment=machine.describe(bench.device),
        recipes=bench.recipes,
        plans=bench.plans,
    )


class _Bench:
    """Trains and judges on one dataset; one plan for each kind of training, decided once."""

    def __init__(self, dataset: Dataset, settings: TransferSettings, log: Callable[[str], None], *, quiet: bool):
        self.dataset, self.settings, self.log, self.quiet = dataset, settings, log, quiet
        self.device = machine.pick_device()
        self.plans: dict[str, Plan] = {}
        self.recipes: dict[str, Recipe | LinearProbeRecipe] = {}
        self.images = 0

    def one_split(self, seed: int, split: SplitAssignment) -> list[Arm]:
        """Every arm, with this split's accuracy alone."""
        settings = self.settings
        known = of_classes(self.dataset, split.known, max(settings.images // len(split.known), 1), seed)
        few = of_classes(self.dataset, split.new, settings.shots, seed)
        self.images = len(known.splits["train"])
        default = self.recipe(seed, settings.epochs, _BATCH)
        before = self.trained("pre-training", default, known)
        weights = load_pretrained(before.path).weights
        tuned = self.recipe(seed, settings.tuning_epochs, _FEW_BATCH)
        tuned = tuned.model_copy(update={"optimizer": _slower(tuned.optimizer)})
        zeros = LinearHead(
            np.zeros((len(split.new), weights.tensors["head.weight"].shape[1])), np.zeros(len(split.new))
        )
        arms = [
            self.evaluated(HEAD, 1, self.headed(before, few), few),
            self.evaluated(
                TUNED, settings.tuning_epochs, self.trained(TUNED, tuned, few, replace_head(weights, zeros)), few
            ),
        ]
        for name, epochs in ((AS_LONG, settings.tuning_epochs), (LONGER, _LONGER * settings.tuning_epochs)):
            anew = self.trained("from scratch", self.recipe(seed, epochs, _FEW_BATCH), few)
            arms.append(self.evaluated(name, epochs, anew, few))
        return arms

    def recipe(self, seed: int, epochs: int, batch: int) -> Recipe:
        """The model's usual one."""
        name, fields = default_recipe(MODEL, self.dataset.name)
        return parse_training_recipe(fields | {"seed": seed, "epochs": epochs, "batch": batch}, name)

    def trained(self, kind: str, recipe: Recipe, dataset: Dataset, weights: Weights | None = None) -> Run:
        job = resolve(recipe, dataset, self.device)
        if weights is not None:
            job = replace(job, weights=weights, config=weights.config)
        self.recipes.setdefault(kind, job.recipe)
        folder = job.folder(plan := self.plan(kind, job))
        return finished_run(folder) or train(job, plan, folder, quiet=self.quiet)

    def plan(self, kind: str, job: Job) -> Plan:
        if kind not in self.plans:
            self.plans[kind], _ = cached_plan(job, self.log)
        return self.plans[kind]

    def headed(self, before: Run, few: Dataset) -> Run:
        held, rest = group_samples(few.splits["train"]).cut(_TO_CHOOSE_ON)
        dataset = replace(few, splits={**few.splits, "train": rest.split, "validation": held})
        recipe = LinearProbeRecipe(model=str(before.path), data=few.name, linear_probe=RidgeSettings())
        job = resolve_linear_probe(recipe, dataset, self.device)
        self.recipes.setdefault(HEAD, job.recipe)
        folder = job.folder()
        return finished_run(folder) or train_linear_probe(job, folder, quiet=self.quiet)

    def evaluated(self, name: str, epochs: int, run: Run, dataset: Dataset) -> Arm:
        """In fp32, whatever the plan was."""
        opened = load_pretrained(run.path)
        predict = predict_fn(
            prepare_model(build_with_weights(opened.weights), self.device, ComputeMode()), self.device, ComputeMode()
        )
        batches = EvalBatches(dataset.splits["test"], opened.preprocess, batch=_EVALUATED, quiet=True)
        return Arm(name, epochs, (evaluate(predict, batches, dataset.classes).top1.value,))


def _slower(optimizer: Optimizer) -> Optimizer:
    """Fine-tuning starts at a quarter of the rate."""
    return optimizer.model_copy(update={"learning_rate": optimizer.learning_rate / 4})
