"""The main job on photographs: which published weights to take, by their features and a head in closed form."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from mixlab.benchmark.throughput import images_per_second
from mixlab.comparison.candidates import require_several
from mixlab.comparison.cross_validation import OutOfFold, out_of_fold
from mixlab.comparison.pretrained_comparison import PublishedComparison, PublishedContestant
from mixlab.data.dataset import Dataset, Part
from mixlab.data.folds import Folds, Round, folded, one_test_part
from mixlab.errors import UserError
from mixlab.evaluation.baselines import yardsticks_in_rounds
from mixlab.evaluation.probes.features import Backbone, features, open_backbone
from mixlab.measure import machine
from mixlab.measure.macs import count_parameters
from mixlab.report.text import counted
from mixlab.speed.plan import Mode
from mixlab.stats.estimate import Estimate
from mixlab.stats.paired import of_groups
from mixlab.training.linear_probe.recipe import RIDGES
from mixlab.training.recipes.default_recipe import SMALL, best_value, typical_side
from mixlab.weights.load import built
from mixlab.weights.source import names_weights
from mixlab.zoo.build import build, macs_of
from mixlab.zoo.cards import find_card

Say = Callable[[str], None]

FAMILIES = ("mixer", "convmixer", "davit")
CNN = "timm:resnet50.a1_in1k"  # timm's own choice among its weights of the network that others are measured by
FOLDS = 5
FEW = 5_000  # images: with fewer, a test part of a fifth leaves too much to chance

_AT_ONCE = 32  # images
_TIMED_AT_ONCE = 8  # images: 64 of 224 pixels take a processor half a minute, and every mode is tried several times


def usual_weights() -> list[str]:
    """Of each family those with the most accuracy for their MACs, and a convolutional network."""
    return [*(best_value(f"{family}_").name for family in FAMILIES), CNN]


def takes_published(models: Sequence[str] | None, dataset: Dataset) -> bool:
    """Whether weights are compared, and not trainings: as the models' names say, else by the images' size."""
    if models is None:
        return typical_side(dataset.parts["train"]) > SMALL
    weights = [model for model in models if names_weights(model)]
    if weights and len(weights) < len(models):
        fresh = next(model for model in models if model not in weights)
        raise UserError(
            f"--models has {weights[0]}, which comes with weights, beside {fresh}, which would be trained from "
            "scratch: such a comparison says nothing. Give one kind alone."
        )
    return bool(weights)


def compare_published(
    models: Sequence[str], dataset: Dataset, folds: int | None, *, quiet: bool, say: Say
) -> PublishedComparison:
    """`folds`: None for 5 where there are few images, else the test part alone. `say` is told what goes on.

    Features are kept on this machine, by the weights and the images: a second comparison computes none again.
    """
    require_several(models)
    judging = _judging(dataset, folds)
    rounds = list(judging.rounds())
    part = judging.images.part
    _require_every_class(dataset, part, rounds)
    backbones = {name: _opened(name) for name in models}
    device = machine.pick_device()
    say(f"On {machine.device_name(device)}. First the yardsticks, which read every image.")
    # An image that is broken shows here, before the first feature and not after the last.
    places = ((np.concatenate([each.train, each.validation]), each.test) for each in rounds)
    untrained = yardsticks_in_rounds(part, places)
    answers: dict[str, OutOfFold] = {}
    for name, backbone in backbones.items():
        seen = features(backbone, part, device, batch=_AT_ONCE, quiet=quiet)
        answers[name] = out_of_fold(seen, rounds, len(dataset.classes), RIDGES)
        right = 100 * answers[name].correct.mean()
        images = counted(len(judging.judged), "image")
        say(f"[{len(answers)}/{len(models)}] {name}: {right:.1f} % of {images}")
    say("Last, how fast they answer.")
    loads = {name: partial(built, backbone.weights) for name, backbone in backbones.items()}
    speeds = images_per_second(loads, device, _TIMED_AT_ONCE)
    contestants = tuple(
        _contestant(name, backbone, answers[name], judging, len(dataset.classes), *speeds[name])
        for name, backbone in backbones.items()
    )
    return PublishedComparison(
        dataset=dataset,
        judging=judging,
        folds=folds,
        contestants=contestants,
        yardsticks=untrained,
        environment=machine.describe(device),
    )


def _judging(dataset: Dataset, folds: int | None) -> Folds:
    if folds is None:
        if sum(map(len, dataset.parts.values())) >= FEW:
            return one_test_part(dataset)
        folds = FOLDS
    return folded(dataset, folds)


def _require_every_class(dataset: Dataset, part: Part, rounds: Sequence[Round]) -> None:
    for each in rounds:
        learned = np.bincount(part.labels[each.train], minlength=len(dataset.classes))
        if not learned.all():
            raise UserError(
                f'{dataset.name} has too few different images of "{dataset.classes[int(learned.argmin())]}" to fit a '
                "head on some, choose its ridge on others and judge it on the rest: add images, or give more folds."
            )


def _opened(name: str) -> Backbone:
    try:
        return open_backbone(name)
    except UserError as error:
        raise UserError(f"{error} Or compare models without published weights: --from-scratch.") from error


def _contestant(
    name: str, backbone: Backbone, answers: OutOfFold, judging: Folds, classes: int, mode: Mode, speed: Estimate
) -> PublishedContestant:
    with torch.device("meta"):
        model = build(backbone.weights.family, {**backbone.weights.config, "classes": classes})
    return PublishedContestant(
        name=name,
        provenance=_provenance(name),
        backbone=backbone,
        answers=answers,
        correct=of_groups(answers.correct[None], judging.images.groups[judging.judged]),
        parameters=count_parameters(model),
        macs=macs_of(model),
        inference_mode=mode,
        images_per_second=speed,
    )


def _provenance(name: str) -> str:
    """Whose weights they are, as far as it is known here."""
    if name == CNN:
        return "timm's ResNet-50, trained on ImageNet-1k by the procedure A1 of Wightman et al. 2021, 600 epochs."
    if (card := find_card(name)) is None:
        return "Nothing is known here of how they were trained."
    imagenet = (f" {each.value:g} % on {each.on} ({each.whose})." for each in card.expected if each.what == "top1")
    return card.provenance + next(imagenet, "")
