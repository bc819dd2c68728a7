"""Train models from scratch on the user's images or texts and compare them, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from mixlab.benchmark.throughput import images_per_second
from mixlab.comparison.candidates import (
    Candidate,
    PlannedCandidate,
    make_candidate,
    plan_candidates,
    require_several,
)
from mixlab.comparison.comparison import Comparison, ModelResult
from mixlab.comparison.ranking import DEFAULT_MARGIN
from mixlab.comparison.set_metric import set_metric_interval
from mixlab.comparison.settings import ComparisonSettings, check_task
from mixlab.comparison.tasks.classification import IMAGES
from mixlab.comparison.tasks.compared_task import ComparedTask
from mixlab.comparison.trainings import Trained, evaluate_training
from mixlab.comparison.tuning import Tuning, tune
from mixlab.data.dataset import Dataset
from mixlab.data.value_range import range_notes
from mixlab.errors import UserError
from mixlab.evaluation.paired_comparison import check_margin
from mixlab.evaluation.unseen_images import unseen_in_training
from mixlab.measure import machine
from mixlab.report.progress import Log
from mixlab.tasks.task import Task
from mixlab.training.runner import run_all
from mixlab.training.training import STARTUP_SECONDS, estimated_seconds
from mixlab.weights.load import load
from mixlab.zoo.architecture import Architecture, with_decoder
from mixlab.zoo.scaling import scaled_config


def compare(
    models: Sequence[str],
    dataset: Dataset,
    settings: ComparisonSettings,
    *,
    compared: ComparedTask = IMAGES,
    margin: float = DEFAULT_MARGIN,
    quiet: bool,
    log: Log,
) -> Comparison:
    """Train every model with every seed, evaluate all on the test split, and compare the results.

    `dataset` is the result of `open_dataset`, with the kinds of the task of `compared`; each training opens it again by
    its name, in its own process. Finished trainings are taken from the store. Test images or texts that are copies of
    training ones are left out. A model is recommended if it is at most `margin` percentage points behind the best.
    `log` is called with a message for the plans and for each result.

    Raises UserError if a model or a setting does not fit the task.
    """
    require_several(models)
    check_margin(margin)
    check_task(settings, compared.task)
    candidates = _make_candidates(models, dataset, settings, compared.task)
    unseen = unseen_in_training(dataset.merge_validation(), quiet=quiet)
    for note in (*unseen.notes, *range_notes(candidates[0].job.preprocess)):
        log(note)
    with_validation = replace(dataset, splits=dataset.splits | {"test": unseen.dataset.splits["test"]})
    dataset = replace(unseen.dataset, notes=(*unseen.dataset.notes, *unseen.notes))
    # The baselines read every sample, so an unreadable one is reported before the first training.
    reached = compared.baselines(with_validation)
    device = candidates[0].job.device
    planned = plan_candidates(candidates, settings, log)
    plan = planned[0].plan
    log(f"On {machine.device_name(device)}; all models are trained in {plan.mode}, {plan.concurrent} at a time.")
    tunings: tuple[Tuning, ...] = ()
    if settings.tune is not None:
        tunings = tune(planned, settings.tune, dataset, quiet=quiet, log=log)
        planned = [tuning.tuned for tuning in tunings]
    if settings.minutes is not None:
        seconds = _seconds_per_training(settings.minutes, len(models) * settings.seeds, plan.concurrent)
        planned = [one.lasting(seconds) for one in planned]
    if settings.match == "seconds":
        first, *others = planned
        ((_, run),) = run_all([first.training(seed=0)], log=log, quiet=quiet)
        seconds = evaluate_training(run, dataset, device, compared.answers).training_seconds
        planned = [first, *(other.lasting(seconds) for other in others)]
    trained = _train_all(planned, settings.seeds, dataset, compared, quiet=quiet, log=log)
    loads = {name: partial(load, trainings[0].folder) for name, trainings in trained.items()}
    speeds = images_per_second(loads, device, noun=dataset.noun)
    return Comparison(
        compared=compared,
        dataset=dataset,
        settings=settings,
        model_results=tuple(
            ModelResult(
                one.candidate,
                one.plan,
                tuple(trained[one.name]),
                *speeds[one.name],
                set_metric=set_metric_interval(compared.metric, trained[one.name]),
            )
            for one in planned
        ),
        tunings=tunings,
        baselines=reached,
        margin=margin,
        environment=machine.describe(device),
    )


def _seconds_per_training(minutes: float, trainings: int, concurrent: int) -> float:
    """Seconds for the steps of each training, if all trainings take `minutes` with `concurrent` at the same time."""
    seconds = 60 * minutes * concurrent / trainings - STARTUP_SECONDS
    if seconds <= 0:
        least = math.ceil(2 * trainings * STARTUP_SECONDS / 60 / concurrent)
        raise UserError(
            f"--minutes {minutes:g} is too short for {trainings} trainings, which take about {STARTUP_SECONDS:g} s "
            f"each to start: give at least {least}, or fewer models or seeds."
        )
    return seconds


def _train_all(
    planned: Sequence[PlannedCandidate],
    seeds: int,
    dataset: Dataset,
    compared: ComparedTask,
    *,
    quiet: bool,
    log: Log,
) -> dict[str, list[Trained]]:
    """The trainings by model name, in the order of the seeds. All models are trained with one seed before the next.

    The longest trainings of each seed start first, so that concurrent trainings end at about the same time.
    """
    longest_first = sorted(planned, key=lambda one: -one.training(seed=0).seconds)
    rounds = list(product(range(seeds), longest_first))
    trainings = [one.training(seed) for seed, one in rounds]
    minutes = max(estimated_seconds(trainings) / 60, 1)
    log(f"{len(rounds)} trainings, about {minutes:.0f} min without those that are finished already.")
    by_index: dict[int, Trained] = {}
    for index, run in run_all(trainings, log=log, quiet=quiet):
        by_index[index] = evaluate_training(run, dataset, trainings[index].job.device, compared.answers)
        log(f"  {compared.task.sample_score.title} {by_index[index].mean_score:.1f} %")
    return {
        name: [by_index[index] for index, (_, one) in enumerate(rounds) if one.name == name]
        for name in (one.name for one in planned)
    }


def _make_candidates(
    models: Sequence[str], dataset: Dataset, settings: ComparisonSettings, task: Task
) -> list[Candidate]:
    """The candidates in the order of `models`; with `settings.match`, all but the first are scaled to the first."""
    make = partial(
        make_candidate, dataset=dataset, task=task.name, image_size=settings.image_size, epochs=settings.epochs
    )
    first = make(models[0], config={})
    return [first, *(make(name, config=_matched(name, first, settings)) for name in models[1:])]


def _matched(name: str, first: Candidate, settings: ComparisonSettings) -> dict[str, Any]:
    """Config fields that scale `name` to the parameters or MACs of the first model; empty if these are not matched."""
    fields: dict[str, Any] = {"classes": first.job.architecture.classes}
    decoder = first.job.recipe.decoder
    if settings.image_size is not None or decoder is not None:  # all models with a decoder have one size
        fields["image_size"] = first.job.architecture.image_size

    def complete(body: Architecture) -> Architecture:
        if decoder is None:
            return body
        return with_decoder(body, decoder.name, decoder.width, first.job.architecture.classes)

    match settings.match:
        case "parameters":
            return scaled_config(name, fields, lambda body: complete(body).parameters, first.parameters)
        case "macs":
            return scaled_config(name, fields, lambda body: complete(body).macs, first.macs)
        case _:
            return {}
