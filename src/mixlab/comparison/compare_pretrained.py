"""Compare published weights on your images: closed-form heads on cached features, evaluated by cross-validation."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mixlab.benchmark.throughput import images_per_second
from mixlab.comparison.candidates import require_several
from mixlab.comparison.cross_validation import CrossValidation, cross_validate, require_every_class
from mixlab.comparison.pretrained_comparison import PretrainedComparison, PretrainedResult
from mixlab.comparison.ranking import DEFAULT_MARGIN
from mixlab.data.dataset import Dataset, Split
from mixlab.data.decoding import with_common_decoding
from mixlab.data.folds import Folds, make_folds, single_test_split
from mixlab.data.value_range import range_notes
from mixlab.errors import UserError
from mixlab.evaluation.baselines import baselines_over_rounds
from mixlab.evaluation.paired_comparison import check_margin
from mixlab.evaluation.probes.features import Backbone, features, open_backbone
from mixlab.evaluation.probes.ridge import RIDGES
from mixlab.evaluation.unseen_images import unseen_by_weights
from mixlab.measure import machine
from mixlab.report.progress import Log
from mixlab.report.text import pluralize
from mixlab.speed.plan import ComputeMode
from mixlab.stats.estimate import Estimate
from mixlab.stats.paired import cluster_values
from mixlab.training.recipes.choose import SMALL, best_accuracy_per_mac, median_short_side
from mixlab.weights.load import build_with_weights
from mixlab.weights.source import is_pretrained
from mixlab.zoo.cards import find_card

FAMILIES = ("mixer", "convmixer", "davit")
CNN = "timm:resnet50.a1_in1k"  # timm's default weights of ResNet-50, a common reference network
FOLDS = 5
MIN_IMAGES_FOR_ONE_SPLIT = 5_000  # with fewer images, a test split of a fifth gives wide intervals

_BATCH = 32  # images
_TIMING_BATCH = 8  # images; 64 images of 224 pixels take half a minute on a CPU, and every mode is timed several times


def default_weights() -> list[str]:
    """The names of the weights that are compared by default.

    For each family, those with the highest accuracy for their MACs, and a convolutional network.
    """
    return [*(best_accuracy_per_mac(f"{family}_").name for family in FAMILIES), CNN]


def compares_pretrained(models: Sequence[str] | None, dataset: Dataset) -> bool:
    """Whether published weights are compared, rather than models trained from scratch.

    models  the names from the user: published weights or models to train; None: decided by the size of the images

    Raises UserError if `models` contains both kinds.
    """
    if models is None:
        return median_short_side(dataset.splits["train"]) > SMALL
    weights = [model for model in models if is_pretrained(model)]
    if weights and len(weights) < len(models):
        from_scratch = next(model for model in models if model not in weights)
        raise UserError(
            f"--models mixes {weights[0]}, which is pretrained, with {from_scratch}, which would be trained from "
            "scratch: their accuracies are not comparable. Give models of one kind only."
        )
    return bool(weights)


def compare_pretrained(
    models: Sequence[str],
    dataset: Dataset,
    folds: int | None,
    *,
    margin: float = DEFAULT_MARGIN,
    quiet: bool,
    log: Log,
) -> PretrainedComparison:
    """Fit a closed-form head on each backbone and compare their accuracies on the same images.

    models   names of published weights, at least two
    dataset  all splits are used for the folds
    folds    number of folds; None: 5 folds for fewer than 5,000 images, else the test split alone
    margin   in percentage points: weights that are at most this far behind the best may be recommended
    quiet    no progress bars
    log      receives one sentence for each step

    Features are cached on this machine by weights and image bytes, so a second comparison does not recompute them.
    Images that one of the weights has learned from are left out, also of the images that the heads are fitted to.

    Raises UserError if weights cannot be loaded, if an image cannot be read, or if a class has too few images.
    """
    require_several(models)
    check_margin(margin)
    backbones = {name: _open_backbone(name, dataset.splits["train"]) for name in models}
    unseen = unseen_by_weights(dataset, tuple(dataset.splits), models, quiet=quiet)
    dataset = unseen.dataset
    # Without the images that were left out, the splits of the data have other sizes than intended.
    count = FOLDS if unseen.left_out and folds is None else folds
    cv_folds = _cv_folds(dataset, count, quiet=quiet)
    for note in (*unseen.notes, *cv_folds.notes, *range_notes(next(iter(backbones.values())).preprocess)):
        log(note)
    rounds = list(cv_folds.rounds())
    split = cv_folds.images.split
    require_every_class(dataset, split, rounds)
    device = machine.pick_device()
    log(f"Running on {machine.device_name(device)}. Computing the baselines.")
    # The baselines read every image, so an unreadable one is reported before any feature is computed.
    indices = ((np.concatenate([each.train, each.validation]), each.test) for each in rounds)
    baselines = baselines_over_rounds(split, indices)
    results: dict[str, CrossValidation] = {}
    for name, backbone in backbones.items():
        backbone_features = features(backbone, split, device, batch=_BATCH, quiet=quiet)
        results[name] = cross_validate(backbone_features, rounds, len(dataset.classes), RIDGES)
        correct = 100 * results[name].correct.mean()
        images = pluralize(len(cv_folds.evaluated), dataset.noun)
        log(f"[{len(results)}/{len(models)}] {name}: {correct:.1f} % of {images}")
    log("Measuring inference speed.")
    loads = {name: partial(build_with_weights, backbone.weights) for name, backbone in backbones.items()}
    speeds = images_per_second(loads, device, _TIMING_BATCH)
    model_results = tuple(
        _result(name, backbone, results[name], cv_folds, len(dataset.classes), *speeds[name])
        for name, backbone in backbones.items()
    )
    return PretrainedComparison(
        dataset=dataset,
        unseen=unseen,
        cv_folds=cv_folds,
        requested_folds=folds,
        model_results=model_results,
        baselines=baselines,
        margin=margin,
        environment=machine.describe(device),
    )


def _cv_folds(dataset: Dataset, folds: int | None, *, quiet: bool) -> Folds:
    if folds is None:
        if sum(map(len, dataset.splits.values())) >= MIN_IMAGES_FOR_ONE_SPLIT:
            return single_test_split(dataset, quiet=quiet)
        folds = FOLDS
    return make_folds(dataset, folds, quiet=quiet)


def _open_backbone(name: str, split: Split) -> Backbone:
    """The weights, with the decoding that the images or sounds of `split` need unless they have one of their own."""
    try:
        backbone = open_backbone(name)
    except UserError as error:
        raise UserError(f"{error} Or use --from-scratch to compare models without published weights.") from error
    return replace(backbone, preprocess=with_common_decoding(backbone.preprocess, split))


def _result(
    name: str,
    backbone: Backbone,
    cross_validation: CrossValidation,
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
        cross_validation=cross_validation,
        scores=cluster_values(cross_validation.correct[None], cv_folds.images.group_ids[cv_folds.evaluated]),
        parameters=with_head.parameters,
        macs=with_head.macs,
        inference_mode=mode,
        images_per_second=speed,
    )


def _provenance(name: str) -> str:
    """By whom and how the weights were trained, as far as mixlab has a record of it."""
    if name == CNN:
        return "timm's ResNet-50, trained on ImageNet-1k with procedure A1 of Wightman et al. 2021, 600 epochs."
    if (card := find_card(name)) is None:
        return "mixlab has no record of how these weights were trained."
    imagenet = (
        f" {expected.value:g} % on {expected.on} ({expected.reported_by})."
        for expected in card.expected
        if expected.metric == "top1"
    )
    return card.provenance + next(imagenet, "")
