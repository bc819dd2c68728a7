"""The main job on photographs: which published weights to take, by their features and a head in closed form."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from mixlab.benchmark.throughput import images_per_second
from mixlab.comparison.candidates import require_several
from mixlab.comparison.cross_validation import CrossValidation, cross_validate
from mixlab.comparison.pretrained_comparison import PretrainedComparison, PretrainedResult
from mixlab.data.dataset import Dataset, Split
from mixlab.data.folds import Folds, Round, make_folds, single_test_split
from mixlab.errors import UserError
from mixlab.evaluation.baselines import baselines_over_rounds
from mixlab.evaluation.probes.features import Backbone, features, open_backbone
from mixlab.measure import machine
from mixlab.report.text import pluralize
from mixlab.speed.plan import ComputeMode
from mixlab.stats.estimate import Estimate
from mixlab.stats.paired import cluster_values
from mixlab.training.linear_probe.recipe import RIDGES
from mixlab.training.recipes.choose import SMALL, best_accuracy_per_mac, median_short_side
from mixlab.weights.load import build_with_weights
from mixlab.weights.source import is_pretrained
from mixlab.zoo.cards import find_card

Log = Callable[[str], None]

FAMILIES = ("mixer", "convmixer", "davit")
CNN = "timm:resnet50.a1_in1k"  # timm's own choice among its weights of the network that others are measured by
FOLDS = 5
FEW = 5_000  # images: with fewer, a test part of a fifth leaves too much to chance

_AT_ONCE = 32  # images
_TIMED_AT_ONCE = 8  # images: 64 of 224 pixels take a processor half a minute, and every mode is tried several times


def default_weights() -> list[str]:
    """Of each family those with the most accuracy for their MACs, and a convolutional network."""
    return [*(best_accuracy_per_mac(f"{family}_").name for family in FAMILIES), CNN]


def compares_pretrained(models: Sequence[str] | None, dataset: Dataset) -> bool:
    """Whether weights are compared, and not trainings: as the models' names say, else by the images' size."""
    if models is None:
        return median_short_side(dataset.splits["train"]) > SMALL
    weights = [model for model in models if is_pretrained(model)]
    if weights and len(weights) < len(models):
        fresh = next(model for model in models if model not in weights)
        raise UserError(
            f"--models has {weights[0]}, which comes with weights, beside {fresh}, which would be trained from "
            "scratch: such a comparison says nothing. Give one kind alone."
        )
    return bool(weights)


def compare_pretrained(
    models: Sequence[str], dataset: Dataset, folds: int | None, *, quiet: bool, log: Log
) -> PretrainedComparison:
    """`folds`: None for 5 where there are few images, else the test part alone. `log` is told what goes on.

    Features are kept on this machine, by the weights and the images: a second comparison computes none again.
    """
    require_several(models)
    cv_folds = _cv_folds(dataset, folds)
    rounds = list(cv_folds.rounds())
    split = cv_folds.images.split
    _require_every_class(dataset, split, rounds)
    backbones = {name: _opened(name) for name in models}
    device = machine.pick_device()
    log(f"On {machine.device_name(device)}. First the yardsticks, which read every image.")
    # An image that is broken shows here, before the first feature and not after the last.
    places = ((np.concatenate([each.train, each.validation]), each.test) for each in rounds)
    untrained = baselines_over_rounds(split, places)
    answers: dict[str, CrossValidation] = {}
    for name, backbone in backbones.items():
        seen = features(backbone, split, device, batch=_AT_ONCE, quiet=quiet)
        answers[name] = cross_validate(seen, rounds, len(dataset.classes), RIDGES)
        correct = 100 * answers[name].correct.mean()
        images = pluralize(len(cv_folds.evaluated), "image")
        log(f"[{len(answers)}/{len(models)}] {name}: {correct:.1f} % of {images}")
    log("Last, how fast they answer.")
    loads = {name: partial(build_with_weights, backbone.weights) for name, backbone in backbones.items()}
    speeds = images_per_second(loads, device, _TIMED_AT_ONCE)
    model_results = tuple(
        _contestant(name, backbone, answers[name], cv_folds, len(dataset.classes), *speeds[name])
        for name, backbone in backbones.items()
    )
    return PretrainedComparison(
        dataset=dataset,
        cv_folds=cv_folds,
        folds=folds,
        model_results=model_results,
        baselines=untrained,
        environment=machine.describe(device),
    )


def _cv_folds(dataset: Dataset, folds: int | None) -> Folds:
    if folds is None:
        if sum(map(len, dataset.splits.values())) >= FEW:
            return single_test_split(dataset)
        folds = FOLDS
    return make_folds(dataset, folds)


def _require_every_class(dataset: Dataset, split: Split, rounds: Sequence[Round]) -> None:
    for each in rounds:
        learned = np.bincount(split.labels[each.train], minlength=len(dataset.classes))
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
    name: str,
    backbone: Backbone,
    answers: CrossValidation,
    cv_folds: Folds,
    classes: int,
    mode: ComputeMode,
    speed: Estimate,
) -> PretrainedResult:
    with_head = backbone.weights.architecture.with_fields(classes=classes)
    return PretrainedResult(
        name=name,
        provenance=_provenance(name),
        backbone=backbone,
        answers=answers,
        correct=cluster_values(answers.correct[None], cv_folds.images.group_ids[cv_folds.evaluated]),
        parameters=with_head.parameters,
        macs=with_head.macs,
        inference_mode=mode,
        images_per_second=speed,
    )


def _provenance(name: str) -> str:
    """Whose weights they are, as far as it is known here."""
    if name == CNN:
        return "timm's ResNet-50, trained on ImageNet-1k by the procedure A1 of Wightman et al. 2021, 600 epochs."
    if (card := find_card(name)) is None:
        return "Nothing is known here of how they were trained."
    imagenet = (
        f" {each.value:g} % on {each.on} ({each.reported_by})." for each in card.expected if each.what == "top1"
    )
    return card.provenance + next(imagenet, "")
