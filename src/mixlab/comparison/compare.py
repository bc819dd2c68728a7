"""The main job: train models on a person's own images and say, with intervals, which one to take and why."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

from mixlab.benchmark.throughput import images_per_second
from mixlab.comparison.candidates import Contender, Planned, enter, planned, require_several
from mixlab.comparison.comparison import Comparison, Contestant
from mixlab.comparison.settings import Terms
from mixlab.comparison.trainings import Trained, processes
from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.evaluation.baselines import yardsticks
from mixlab.measure import machine
from mixlab.measure.macs import count_parameters
from mixlab.runs.folder import Run
from mixlab.weights.trained import load_trained
from mixlab.zoo.build import macs_of
from mixlab.zoo.scaling import scaled_config

Say = Callable[[str], None]

_START_SECONDS = 2.0
"""What a training takes beside its steps: the process, the data, judging. `minutes` has to pay for it as well."""


def compare(models: Sequence[str], dataset: Dataset, terms: Terms, *, quiet: bool, say: Say) -> Comparison:
    """Train every model with every seed, judge all on the test part, and weigh the differences.

    `dataset` is one that `open_dataset` finds by its name: each training opens it again in its own process. What an
    interrupted comparison has finished is found in the store. `say` is told the plans, and each result as it comes.
    """
    require_several(models)
    share = None if terms.minutes is None else _share(terms.minutes, trainings=len(models) * terms.seeds)
    dataset = dataset.nothing_selected()
    contenders = _entered(models, dataset, terms)
    # First, since it reads every image: one that is broken shows before the first training and not after the last.
    untrained = yardsticks(dataset.parts["train"], dataset.parts["test"])
    device = contenders[0].job.device
    say(f"On {machine.device_name(device)}. Each model has one plan, found by a short trial:")
    entrants = []
    for contender in contenders:
        entrant = planned(contender, say)
        milliseconds = 1000 * entrant.seconds_a_step
        say(f"  {entrant.name}: {entrant.plan.mode}, {milliseconds:.0f} ms a step of {contender.job.batch} images")
        entrants.append(entrant)
    if share is not None:
        entrants = [entrant.lasting(share) for entrant in entrants]
    with processes() as train_apart:

        def train(entrant: Planned, seed: int) -> Trained:
            job = entrant.contender.seeded(seed)
            return train_apart(job.recipe, entrant.plan, job.folder(entrant.plan), quiet=quiet)

        if terms.match == "seconds":
            first, *others = entrants
            seconds = train(first, seed=0).training_seconds
            entrants = [first, *(other.lasting(seconds) for other in others)]
        trained = _all_trained(entrants, terms.seeds, train, say)
    loads = {name: partial(load_trained, Run(trainings[0].folder)) for name, trainings in trained.items()}
    speeds = images_per_second(loads, device)
    contestants = tuple(
        Contestant(entrant.contender, entrant.plan, tuple(trained[entrant.name]), *speeds[entrant.name])
        for entrant in entrants
    )
    return Comparison(
        dataset=dataset,
        terms=terms,
        contestants=contestants,
        yardsticks=untrained,
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
    entrants: Sequence[Planned], seeds: int, train: Callable[[Planned, int], Trained], say: Say
) -> dict[str, list[Trained]]:
    """By name, one a seed. Every model has its first seed before any has its second."""
    rounds = list(product(range(seeds), entrants))
    minutes = sum(entrant.seconds for _, entrant in rounds) / 60
    say(f"{len(rounds)} trainings; by the trials about {max(minutes, 1):.0f} min, less what is finished already.")
    trained: dict[str, list[Trained]] = {entrant.name: [] for entrant in entrants}
    for done, (seed, entrant) in enumerate(rounds, start=1):
        result = train(entrant, seed)
        trained[entrant.name].append(result)
        say(
            f"[{done}/{len(rounds)}] {entrant.name}, seed {seed}: "
            f"{result.top1:.1f} % after {result.training_seconds:.0f} s of training"
        )
    return trained


def _entered(models: Sequence[str], dataset: Dataset, terms: Terms) -> list[Contender]:
    """In the given order: the first as it is, the others with its parameters or MACs where that is asked."""
    first = enter(models[0], dataset, image_size=terms.image_size, epochs=terms.epochs, config={})
    others = [
        enter(name, dataset, image_size=terms.image_size, epochs=terms.epochs, config=_matched(name, first, terms))
        for name in models[1:]
    ]
    return [first, *others]


def _matched(name: str, first: Contender, terms: Terms) -> dict[str, Any]:
    """The widths that bring `name` to the first model's count."""
    fields: dict[str, Any] = {"classes": first.job.config["classes"]}
    if terms.image_size is not None:
        fields["image_size"] = terms.image_size
    match terms.match:
        case "parameters":
            return scaled_config(name, fields, count_parameters, first.parameters)
        case "macs":
            return scaled_config(name, fields, macs_of, first.macs)
        case _:
            return {}
