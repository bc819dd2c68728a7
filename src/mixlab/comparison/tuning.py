"""Tune the settings of all models of a comparison alike, without the test images.

Every model has the same number of random trials from one search space. Each trial is trained once for each fold of the
training images, without this fold, and evaluated on it. The best trial sets the recipe of the model.

    tunings = tune(planned, 8, dataset, quiet=quiet, log=log)
    planned = [tuning.tuned for tuning in tunings]
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from statistics import median
from typing import Any

from mixlab.comparison.candidates import PlannedCandidate
from mixlab.comparison.trainings import Trained, evaluate_training
from mixlab.data.dataset import Dataset
from mixlab.data.folds import training_folds
from mixlab.evaluation.evaluation import Evaluation
from mixlab.evaluation.metrics import nll
from mixlab.report.numbers import duration
from mixlab.report.progress import Log
from mixlab.stats.expected_maximum import expected_maximum
from mixlab.training.job import Job, apply_subset, resolve
from mixlab.training.recipes.schema import Checkpoints, Subset
from mixlab.training.recipes.search_space import Settings, sample_settings, with_settings
from mixlab.training.runner import run_all
from mixlab.training.training import Training, estimated_seconds

FOLDS = 3


@dataclass(frozen=True)
class Trial:
    """One point of the search space with its score on all training images, each predicted without being trained on.

    top1           accuracy in per cent
    cross_entropy  in nats
    """

    settings: Settings
    top1: float
    cross_entropy: float


@dataclass(frozen=True)
class Tuning:
    """All trials of one model, in the order in which they were sampled."""

    candidate: PlannedCandidate
    trials: tuple[Trial, ...]

    @property
    def name(self) -> str:
        return self.candidate.name

    @cached_property
    def best(self) -> Trial:
        """The trial with the highest accuracy; of several, the one with the lowest cross-entropy."""
        return max(self.trials, key=lambda trial: (trial.top1, -trial.cross_entropy))

    @property
    def median(self) -> float:
        """The median accuracy of the trials in per cent."""
        return median(trial.top1 for trial in self.trials)

    @property
    def worst(self) -> float:
        """The lowest accuracy of the trials in per cent."""
        return min(trial.top1 for trial in self.trials)

    @property
    def stochastic_depth(self) -> float | None:
        """The stochastic depth of the best trial; None if the model does not have it."""
        has_field = self.candidate.candidate.job.architecture.stochastic_depth_field is not None
        return self.best.settings.stochastic_depth if has_field else None

    @cached_property
    def tuned(self) -> PlannedCandidate:
        """The model with the recipe of the best trial, for all training images."""
        return _with_settings(self.candidate, self.best.settings)

    @property
    def expected_best(self) -> list[float]:
        """The expected accuracy of the best of 1, 2, ... random trials, in per cent."""
        return expected_maximum([trial.top1 for trial in self.trials])

    def to_dict(self) -> dict[str, Any]:
        """The entry of this model in results.json."""
        return {
            "trials": [asdict(trial) for trial in self.trials],
            "best": self.trials.index(self.best),
            "expected_best": self.expected_best,
        }


def tune(
    planned: Sequence[PlannedCandidate], trials: int, dataset: Dataset, *, quiet: bool, log: Log
) -> tuple[Tuning, ...]:
    """Run `trials` random trials of each model on the training images.

    `dataset` has "train", with the validation images, and "test", which is not read. Finished trainings are taken from
    the store. The fastest models are trained first. Raises UserError if a class has fewer different training images
    than there are folds.
    """
    folds = training_folds(dataset, FOLDS)
    subsets = [Subset(folds=FOLDS, left_out_fold=fold) for fold in range(FOLDS)]
    without_fold = [apply_subset(dataset, subset) for subset in subsets]
    held_out = [replace(dataset, splits={"test": folds.images.split.subset(split.test)}) for split in folds.rounds()]
    settings = sample_settings(trials)
    fastest_first = sorted(planned, key=lambda one: one.training(seed=0).seconds)
    rounds = list(product(fastest_first, settings, range(FOLDS)))
    trainings = [
        _without_fold(trial.training(seed=0), subsets[fold], without_fold[fold])
        for trial in (_with_settings(*pair) for pair in product(fastest_first, settings))
        for fold in range(FOLDS)
    ]
    log(
        f"Tuning: {trials} trials of each model with {FOLDS} folds, {len(trainings)} trainings, about "
        f"{duration(estimated_seconds(trainings))} without those that are finished already."
    )
    evaluated: dict[tuple[str, Settings, int], Trained] = {}
    for index, run in run_all(trainings, log=log, quiet=quiet):
        candidate, point, fold = rounds[index]
        evaluated[candidate.name, point, fold] = evaluate_training(run, held_out[fold], candidate.candidate.job.device)
    return tuple(
        Tuning(
            candidate,
            tuple(
                _score(point, [evaluated[candidate.name, point, fold] for fold in range(FOLDS)]) for point in settings
            ),
        )
        for candidate in planned
    )


def _with_settings(candidate: PlannedCandidate, settings: Settings) -> PlannedCandidate:
    """The model with these settings, which may change its config but not the cost of its steps."""
    job = candidate.candidate.job
    recipe = with_settings(job.recipe, settings, job.architecture)
    resolved = resolve(recipe, job.dataset, job.device)
    return replace(candidate, candidate=replace(candidate.candidate, job=resolved))


def _without_fold(training: Training, subset: Subset, without_fold: Dataset) -> Training:
    """The training on `without_fold`, which is the result of `subset`."""
    assert isinstance(training.job, Job)
    changes = {"subset": subset, "checkpoints": Checkpoints(keep=1)}
    job = replace(training.job, recipe=training.job.recipe.model_copy(update=changes), dataset=without_fold)
    return replace(training, job=job)


def _score(settings: Settings, trained: Sequence[Trained]) -> Trial:
    evaluation = Evaluation.concat([training.evaluation for training in trained])
    return Trial(settings, top1=evaluation.top1.value, cross_entropy=nll(evaluation).value)
