"""The main job: train models on a person's own pictures and say, with intervals, which one to take and why."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from mixlab.data.batches import steps_an_epoch
from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.evaluation.yardsticks import yardsticks
from mixlab.measure import machine
from mixlab.measure.macs import count_parameters
from mixlab.speed.plan import Plan
from mixlab.studies.comparison import Comparison, Contestant
from mixlab.studies.contenders import Contender, enter, macs_of, planned
from mixlab.studies.inference import images_per_second
from mixlab.studies.terms import Terms
from mixlab.studies.trainings import Trained, nothing_selected, processes
from mixlab.studies.verdict import judge
from mixlab.zoo.scaling import scaled_config

Say = Callable[[str], None]

_START_SECONDS = 2.0
"""What a training takes beside its steps: the process, the data, judging. `minutes` has to pay for it as well."""


def compare(models: Sequence[str], dataset: Dataset, terms: Terms, *, quiet: bool, say: Say) -> Comparison:
    """Train every model with every seed, judge all on the test part, and weigh the differences.

    `dataset` is one that `open_dataset` finds by its name: each training opens it again in its own process. What an
    interrupted comparison has finished is found in the store. `say` is told the plans, and each result as it comes.
    """
    if len(set(models)) < max(len(models), 2):
        raise UserError(f"--models {','.join(models)} compares nothing: give two or more different models.")
    dataset = nothing_selected(dataset)
    contenders = _entered(models, dataset, terms)
    # First, since it reads every picture: one that is broken shows before the first training and not after the last.
    untrained = yardsticks(dataset.parts["train"], dataset.parts["test"])
    say(f"On {machine.device_name(contenders[0].job.device)}. Each model has one plan, found by a short trial:")
    plans: dict[str, Plan] = {}
    seconds_a_step: dict[str, float] = {}
    for contender in contenders:
        plan, seconds = planned(contender, say)
        plans[contender.name], seconds_a_step[contender.name] = plan, seconds
        say(f"  {contender.name}: {plan.mode}, {1000 * seconds:.0f} ms a step of {contender.job.batch} pictures")

    def lasting(contender: Contender, seconds: float) -> Contender:
        return contender.lasting(max(round(seconds / seconds_a_step[contender.name]), 1))

    if terms.minutes is not None:
        share = 60 * terms.minutes / (len(models) * terms.seeds) - _START_SECONDS
        contenders = [lasting(contender, share) for contender in contenders]
    trained: dict[str, list[Trained]] = {name: [] for name in models}
    with processes() as train_apart:

        def train(contender: Contender, seed: int) -> Trained:
            job, plan = contender.seeded(seed), plans[contender.name]
            return train_apart(job.recipe, plan, job.folder(plan), quiet=quiet)

        if terms.match == "seconds":
            first, *others = contenders
            seconds = train(first, seed=0).training_seconds
            contenders = [first, *(lasting(other, seconds) for other in others)]
        rounds = list(product(range(terms.seeds), contenders))
        minutes = sum(_steps(contender) * seconds_a_step[contender.name] for _, contender in rounds) / 60
        say(f"{len(rounds)} trainings; by the trials about {max(minutes, 1):.0f} min, less what is finished already.")
        for done, (seed, contender) in enumerate(rounds, start=1):
            result = train(contender, seed)
            trained[contender.name].append(result)
            say(
                f"[{done}/{len(rounds)}] {contender.name}, seed {seed}: "
                f"{result.top1:.1f} % after {result.training_seconds:.0f} s of training"
            )
    speeds = images_per_second({name: trained[name][0].folder for name in models}, contenders[0].job.device)
    contestants = tuple(
        Contestant(contender, plans[contender.name], tuple(trained[contender.name]), *speeds[contender.name])
        for contender in contenders
    )
    return Comparison(
        dataset=dataset,
        terms=terms,
        contestants=contestants,
        yardsticks=untrained,
        verdict=judge({contestant.name: contestant.correct for contestant in contestants}),
        environment=machine.describe(contenders[0].job.device),
    )


def _steps(contender: Contender) -> int:
    job = contender.job
    return job.steps(steps_an_epoch(len(job.dataset.parts["train"]), job.batch))


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
