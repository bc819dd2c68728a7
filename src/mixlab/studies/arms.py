"""Training and evaluation of the arms of a study, shared by all studies that train.

A study separates what is trained from what is concluded:

    planned = plan_arms(study.arms(dataset, settings), dataset, log)   # a recipe for each repetition of each arm
    planned.costs()                                                    # trainings, hours, disk; nothing is trained
    result = study.conclude(planned.train(log=log, quiet=False), settings)

An arm can start from the weights of another one, as fine-tuning does (initial_weights.py). All arms on the same data
have one compute mode, and finished trainings come from the store. A training is evaluated on the test split of its own
data, which may be others than those of the study, such as other splits of them.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar
from weakref import finalize

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.evaluation.correctness import write_correctness
from mixlab.evaluation.predictions import Predictions
from mixlab.measure import machine
from mixlab.measure.machine import pick_device
from mixlab.report.numbers import duration
from mixlab.report.progress import Log
from mixlab.report.references import data_references
from mixlab.report.table import Column, Table
from mixlab.report.text import pluralize
from mixlab.runs.folder import Run
from mixlab.runs.history import read_history
from mixlab.runs.store import finished_run
from mixlab.stats.intervals import mean_interval
from mixlab.studies.answers import predictions_of
from mixlab.studies.arms_result import Arm, ArmsResult
from mixlab.studies.initial_weights import arm_before, data_of, started_job, with_arm_before, with_stand_ins
from mixlab.studies.methods import trainings_protocol, trainings_text
from mixlab.studies.result import StudyResult
from mixlab.training.job import Job
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.planning.estimate import forward_passes
from mixlab.training.recipes.schema import Recipe
from mixlab.training.runner import plan_trainings, run_all
from mixlab.training.training import Training, estimated_seconds
from mixlab.weights.source import is_pretrained
from mixlab.zoo.architecture import Architecture, architecture, macs_of
from mixlab.zoo.references import model_references

Result = TypeVar("Result", bound=StudyResult, covariant=True)

Arms = Mapping[str, Sequence[Recipe | LinearProbeRecipe]]
"""For each arm, its recipes: one for each repetition. Repetition i of every arm has the same seed and images."""

_STORED = 4 + 2 * 12
"""Bytes on disk for each parameter: the weights, and two checkpoints with weights and both moments of AdamW."""


class TrainingStudy(Protocol[Result]):
    """The functions of a module that is a study with trainings, besides its dataclass `Settings`."""

    def arms(self, dataset: Dataset, settings: Any) -> Arms:
        """What is trained. Raises UserError if the dataset or the settings do not fit the study."""
        ...

    def conclude(self, trained: "TrainedArms", settings: Any) -> Result:
        """What is concluded."""
        ...


@dataclass(frozen=True)
class PlannedArms:
    """The recipes of every arm, and their trainings with their plans.

    dataset   of the study
    datasets  all that recipes name, by these names
    planned   random values stand in for initial weights that are those of another arm; the folder with them is removed
              together with this object
    """

    dataset: Dataset
    datasets: Mapping[str, Dataset]
    recipes: Arms
    planned: Mapping[str, Sequence[Training]]

    @property
    def trainings(self) -> dict[str, list[Training]]:
        """The trainings of every arm, which start from the weights of other arms as soon as these are trained."""
        return {name: self._of_arm(name) for name in self.recipes}

    def _of_arm(self, name: str) -> list[Training]:
        return [self._training(name, repetition) for repetition in range(len(self.recipes[name]))]

    def _training(self, name: str, repetition: int) -> Training:
        recipe, planned = self.recipes[name][repetition], self.planned[name][repetition]
        before = arm_before(recipe)
        weights = None if before is None else finished_run(self.planned[before][repetition].folder)
        if weights is None:
            return planned
        return replace(planned, job=started_job(recipe, weights, self.datasets[recipe.data]))

    def costs(self) -> Table:
        """The number of trainings, the estimated hours and the disk space of each arm that are not in the store yet."""
        trainings = self.trainings
        rows = [self._cost(name, of_arm) for name, of_arm in trainings.items()]
        total: dict[str, Any] = {"arm": "total"}
        for key in ("trainings", "missing", "hours", "disk"):
            total[key] = sum(row[key] for row in rows)
        concurrent = max(training.concurrent for of_arm in trainings.values() for training in of_arm)
        columns = [
            Column("arm", "arm"),
            Column("trainings", "trainings"),
            Column("missing", "not in the store"),
            Column("steps", "steps of each"),
            Column("macs", "MACs", "M", digits=1),
            Column("hours", "time", "h", digits=2),
            Column("disk", "disk", "MB", digits=1),
        ]
        notes = [
            f"About {duration(3600 * total['hours'])} in total, with {pluralize(concurrent, 'training')} at the same "
            f"time on {machine.device_name(pick_device())}, from the measured time of a step, and with one "
            "evaluation of the test images by each.",
            "MACs: multiply-accumulates of the forward pass of one image.",
        ]
        return Table(f"Trainings on {self.dataset.name}", columns, [*rows, total], notes)

    def _cost(self, name: str, trainings: Sequence[Training]) -> dict[str, Any]:
        missing = [training for training in trainings if finished_run(training.folder) is None]
        architecture = trainings[0].job.architecture
        disk = sum(
            _STORED * training.job.architecture.parameters for training in missing if isinstance(training.job, Job)
        )
        seconds = estimated_seconds(missing) + sum(map(self._evaluation_seconds, missing))
        return {
            "arm": name,
            "trainings": len(trainings),
            "missing": len(missing),
            "steps": trainings[0].steps,
            "macs": architecture.macs / 1e6,
            "hours": seconds / 3600,
            "disk": disk / 1e6,
        }

    def _evaluation_seconds(self, training: Training) -> float:
        """Estimated seconds of the forward passes for all test images; 0 for a linear probe."""
        job = training.job
        if not isinstance(job, Job):
            return 0.0
        images = len(self.datasets[job.recipe.data].splits["test"])
        steps = images / job.batch / forward_passes(job.recipe)
        return steps * (training.seconds_per_step or 0.0) / training.concurrent

    def train(self, *, log: Log, quiet: bool) -> "TrainedArms":
        """Train what is not in the store: the arms with random initial weights, then those that start from others."""
        later = [name for name, recipes in self.recipes.items() if any(map(arm_before, recipes))]
        trainings = dict(self.planned)
        runs: dict[str, list[Run]] = {name: [] for name in self.recipes}
        for names in ([name for name in self.recipes if name not in later], later):
            trainings |= {name: self._of_arm(name) for name in names}
            order = [(name, training) for name in names for training in trainings[name]]
            finished = dict(run_all([training for _, training in order], log=log, quiet=quiet))
            for index, (name, _) in enumerate(order):
                runs[name].append(finished[index])
        return TrainedArms(self.dataset, self.datasets, trainings, runs, log)


@dataclass(frozen=True)
class TrainedArms:
    """The finished runs of every arm, in the order of its recipes. They are evaluated when `arm` is called first.

    dataset   of the study
    datasets  all that recipes name, by these names
    """

    dataset: Dataset
    datasets: Mapping[str, Dataset]
    trainings: Mapping[str, Sequence[Training]]
    runs: Mapping[str, Sequence[Run]]
    log: Log

    @property
    def training_seconds(self) -> tuple[float, ...]:
        """The duration of the steps of every run."""
        return tuple(seconds for name in self.runs for seconds in self.seconds(name))

    def seconds(self, name: str) -> list[float]:
        """The duration of the steps of each repetition of an arm."""
        return [_training_seconds(run) for run in self.runs[name]]

    @cached_property
    def _predictions(self) -> dict[str, list[Predictions]]:
        return {}

    def data(self, name: str, repetition: int) -> Dataset:
        """The dataset of a repetition of an arm."""
        return self.datasets[self.trainings[name][repetition].job.recipe.data]

    def predictions(self, name: str) -> list[Predictions]:
        """The predictions of each repetition of an arm for the test images, by the weights of the last step in fp32."""
        if name not in self._predictions:
            self._predictions[name] = [
                predictions_of(name, run, self.data(name, repetition)) for repetition, run in enumerate(self.runs[name])
            ]
            scores = ", ".join(f"{100 * one.correct.mean():.1f}" for one in self._predictions[name])
            self.log(f"{name}: {scores} %")
        return self._predictions[name]

    def arm(self, name: str) -> Arm:
        """The scores of an arm, with its MACs and steps."""
        scores = tuple(100 * float(one.correct.mean()) for one in self.predictions(name))
        training = self.trainings[name][0]
        cost = {"macs": training.job.architecture.macs / 1e6, "steps": training.steps}
        details = {
            "macs": training.job.architecture.macs,
            "steps": training.steps,
            "training_seconds": self.seconds(name),
        }
        return Arm(name, scores, mean_interval(scores, "%", least=0, most=100), cost, details)

    def result(self, *, title: str, command: str, settings: Any, claims: Sequence[Any], **fields: Any) -> ArmsResult:
        """The result with all arms, their recipes and plans. `fields` are further fields of `ArmsResult`."""
        firsts = {name: runs[0] for name, runs in self.runs.items()}
        folders = {str(run.path): name for name, run in firsts.items()}
        models = [key for of_arm in self.trainings.values() for key in model_references(of_arm[0].job.architecture)]
        concurrent = max(training.concurrent for of_arm in self.trainings.values() for training in of_arm)
        given: dict[str, Any] = {
            "arms": fields.pop("arms", None) or tuple(self.arm(name) for name in self.runs),
            "columns": (Column("macs", "MACs", "M", digits=1), Column("steps", "steps")),
            "recipes": {name: with_arm_before(run.recipe, folders) for name, run in firsts.items()},
            "plans": _distinct_plans(firsts),
            "protocol": trainings_protocol(self.trainings, self.dataset),
            "references": (*models, *data_references(self.dataset.name)),
            "facts": {"Trainings": trainings_text(self.training_seconds, concurrent), **fields.pop("facts", {})},
            "training_seconds": self.training_seconds,
        }
        return ArmsResult(
            title=title,
            command=command,
            data=self.dataset.name,
            settings=settings,
            claims=tuple(claims),
            environment=machine.describe(),
            **given | fields,
        )

    def write_correctness(self, folder: Path) -> None:
        """Write which test images each training classifies correctly, for `mixlab evaluate --against`.

        There is no folder for a study that does not classify images.
        """
        for name, of_arm in self._predictions.items():
            folder.mkdir(exist_ok=True)
            label = "".join(character if character.isalnum() else "-" for character in name)
            for number, predictions in enumerate(of_arm):
                write_correctness(folder / f"{label}-{number}.correct", predictions)


def plan_arms(arms: Arms, dataset: Dataset, log: Log, *, speed: str = "auto") -> PlannedArms:
    """Resolve the recipes of every arm, and select one compute mode for all of those on the same data.

    speed  "off": eager execution in fp32, without timing

    Raises UserError if a model does not fit the images, or a recipe the data.
    """
    if speed == "off":
        arms = {name: list(map(_without_speed, recipes)) for name, recipes in arms.items()}
    _require_image_sizes([recipe for recipes in arms.values() for recipe in recipes])
    datasets = data_of(arms, dataset)
    planned: dict[str, list[Training]] = {name: [] for name in arms}
    with ExitStack() as stack:
        complete = stack.enter_context(with_stand_ins(arms, datasets))
        for data, opened in datasets.items():
            order = [(name, recipe) for name, recipes in complete.items() for recipe in recipes if recipe.data == data]
            trainings = plan_trainings([recipe for _, recipe in order], opened, pick_device(), log)
            for (name, _), training in zip(order, trainings, strict=True):
                planned[name].append(replace(training, name=name))
        planned_arms = PlannedArms(dataset, datasets, arms, planned)
        finalize(planned_arms, stack.pop_all().close)  # a model of a user is built again from the code in the folder
    return planned_arms


def run_study(
    study: TrainingStudy[Result], dataset: Dataset, settings: Any, *, log: Log, quiet: bool, speed: str = "auto"
) -> Result:
    """Plan, train and conclude."""
    planned = plan_arms(study.arms(dataset, settings), dataset, log, speed=speed)
    return study.conclude(planned.train(log=log, quiet=quiet), settings)


def _without_speed(recipe: Recipe | LinearProbeRecipe) -> Recipe | LinearProbeRecipe:
    """The recipe with `speed = "off"`, if it has steps."""
    return recipe if isinstance(recipe, LinearProbeRecipe) else recipe.model_copy(update={"speed": "off"})


def _require_image_sizes(recipes: Sequence[Recipe | LinearProbeRecipe]) -> None:
    """Raises UserError for a model that is built for its image size but cannot process such images."""
    checked: list[Architecture] = []
    for recipe in recipes:
        if isinstance(recipe, LinearProbeRecipe) or recipe.initialization.weights or is_pretrained(recipe.model):
            continue
        size = {} if recipe.image_size is None else {"image_size": recipe.image_size}
        model = architecture(recipe.model, **{**recipe.config, **size})
        if model in checked:
            continue
        try:
            macs_of(model.on_meta())
        except RuntimeError as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(
                f"{recipe.model} can't process images of {model.image_size} pixels ({reason}): give larger images or "
                "another model."
            ) from error
        checked.append(model)


def _training_seconds(run: Run) -> float:
    history = read_history(run.journal)
    assert history.end is not None  # the run is finished
    return history.end["training_seconds"]


def _distinct_plans(runs: Mapping[str, Run]) -> Mapping[str, Mapping[str, Any]]:
    """The plans by arm; a single one if all are equal."""
    plans = {name: run.plan for name, run in runs.items()}
    first = next(iter(plans.values()))
    return {"all trainings": first} if all(plan == first for plan in plans.values()) else plans
