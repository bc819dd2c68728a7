"""The main job: train models on a person's own images and say, with intervals, which one to take and why."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

from mixlab.benchmark.throughput import images_per_second
from mixlab.comparison.candidates import Candidate, PlannedCandidate, make_candidate, plan_candidate, require_several
from mixlab.comparison.comparison import Comparison, ModelResult
from mixlab.comparison.settings import ComparisonSettings
from mixlab.comparison.trainings import Trained, processes
from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.evaluation.baselines import baselines
from mixlab.measure import machine
from mixlab.measure.macs import count_parameters
from mixlab.runs.folder import Run
from mixlab.weights.trained import load_trained
from mixlab.zoo.build import macs_of
from mixlab.zoo.scaling import scaled_config

Log = Callable[[str], None]

_START_SECONDS = 2.0
"""What a training takes beside its steps: the process, the data, judging. `minutes` has to pay for it as well."""


def compare(
    models: Sequence[str], dataset: Dataset, settings: ComparisonSettings, *, quiet: bool, log: Log
) -> Comparison:
    """Train every model with every seed, judge all on the test part, and weigh the differences.

    `dataset` is one that `open_dataset` finds by its name: each training opens it again in its own process. What an
    interrupted comparison has finished is found in the store. `log` is told the plans, and each result as it comes.
    """
    require_several(models)
    share = None if settings.minutes is None else _share(settings.minutes, trainings=len(models) * settings.seeds)
    dataset = dataset.merge_validation()
    candidates = _make_candidates(models, dataset, settings)
    # First, since it reads every image: one that is broken shows before the first training and not after the last.
    untrained = baselines(dataset.splits["train"], dataset.splits["test"])
    device = candidates[0].job.device
    log(f"On {machine.device_name(device)}. Each model has one plan, found by a short trial:")
    planned_candidates = []
    for candidate in candidates:
        planned_candidate = plan_candidate(candidate, log)
        milliseconds = 1000 * planned_candidate.seconds_per_step
        batch = candidate.job.batch
        log(f"  {candidate.name}: {planned_candidate.plan.mode}, {milliseconds:.0f} ms a step of {batch} images")
        planned_candidates.append(planned_candidate)
    if share is not None:
        planned_candidates = [planned_candidate.lasting(share) for planned_candidate in planned_candidates]
    with processes() as train_apart:

        def train(planned_candidate: PlannedCandidate, seed: int) -> Trained:
            job = planned_candidate.candidate.seeded(seed)
            return train_apart(job.recipe, planned_candidate.plan, job.folder(planned_candidate.plan), quiet=quiet)

        if settings.match == "seconds":
            first, *others = planned_candidates
            seconds = train(first, seed=0).training_seconds
            planned_candidates = [first, *(other.lasting(seconds) for other in others)]
        trained = _all_trained(planned_candidates, settings.seeds, train, log)
    loads = {name: partial(load_trained, Run(trainings[0].folder)) for name, trainings in trained.items()}
    speeds = images_per_second(loads, device)
    model_results = tuple(
        ModelResult(
            planned_candidate.candidate,
            planned_candidate.plan,
            tuple(trained[planned_candidate.name]),
            *speeds[planned_candidate.name],
        )
        for planned_candidate in planned_candidates
    )
    return Comparison(
        dataset=dataset,
        settings=settings,
        model_results=model_results,
        baselines=untrained,
        environment=machine.describe(device),
    )


def _share(minutes: float, trainings: int) -> float:
    """Seconds of each training's steps, if all of them together are to last `minutes`."""
    seconds = 60 * minutes / trainings - _START_SECONDS
    if seconds <= 0:
        raise UserError(
            f"--minutes {minutes:g} is too short for {trainings} trainings, which take about {_START_SECONDS:g} s each "
            f"to start: give at least {math.ceil(2 * trainings * _START_SECONDS / 60)}, or fewer models or seeds."
        )
    return seconds


def _all_trained(
    planned_candidates: Sequence[PlannedCandidate],
    seeds: int,
    train: Callable[[PlannedCandidate, int], Trained],
    log: Log,
) -> dict[str, list[Trained]]:
    """By name, one a seed. Every model has its first seed before any has its second."""
    rounds = list(product(range(seeds), planned_candidates))
    minutes = sum(planned_candidate.seconds for _, planned_candidate in rounds) / 60
    log(f"{len(rounds)} trainings; by the trials about {max(minutes, 1):.0f} min, less what is finished already.")
    trained: dict[str, list[Trained]] = {planned_candidate.name: [] for planned_candidate in planned_candidates}
    for done, (seed, planned_candidate) in enumerate(rounds, start=1):
        result = train(planned_candidate, seed)
        trained[planned_candidate.name].append(result)
        log(
            f"[{done}/{len(rounds)}] {planned_candidate.name}, seed {seed}: "
            f"{result.top1:.1f} % after {result.training_seconds:.0f} s of training"
        )
    return trained


def _make_candidates(models: Sequence[str], dataset: Dataset, settings: ComparisonSettings) -> list[Candidate]:
    """In the given order: the first as it is, the others with its parameters or MACs where that is asked."""
    first = make_candidate(models[0], dataset, image_size=settings.image_size, epochs=settings.epochs, config={})
    others = [
        make_candidate(
            name,
            dataset,
            image_size=settings.image_size,
            epochs=settings.epochs,
            config=_matched(name, first, settings),
        )
        for name in models[1:]
    ]
    return [first, *others]


def _matched(name: str, first: Candidate, settings: ComparisonSettings) -> dict[str, Any]:
    """The widths that bring `name` to the first model's count."""
    fields: dict[str, Any] = {"classes": first.job.config["classes"]}
    if settings.image_size is not None:
        fields["image_size"] = settings.image_size
    match settings.match:
        case "parameters":
            return scaled_config(name, fields, count_parameters, first.parameters)
        case "macs":
            return scaled_config(name, fields, macs_of, first.macs)
        case _:
            return {}
