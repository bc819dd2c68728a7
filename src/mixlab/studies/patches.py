"""Is it the patches, the mixer or the data that makes a network accurate?

Combinations of four factors are trained from scratch: the stem (a patch in one step, or 3x3 convolutions with stride 2
to the same grid), the mixing of patches (attention, token MLP, depthwise convolution), the shape (isotropic, or a
pyramid of three stages) and the training images (--share per cent of them, or all). All networks have the same
parameters and multiply-accumulates within --tolerance, a learned position embedding, the recipe of vit_nano and equal
steps. Every network is trained at each of --rates. The learning rate of each mixing and stem is the one with the best
mean accuracy on training images that are left out: a fifth of them, and another one for each of five seeds. No test
image selects anything, and the weights are those of the last step. Effects are shown at the chosen rates, and with one
rate for all networks.

--fraction half trains half of the combinations. Within each mixing, each of the main effects of stem, shape and images
then includes half of the interaction of the other two. Effects of the mixing, and its interactions with one other
factor, are aliased with interactions of three or more factors only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.runs.folder import Run
from mixlab.studies.answers import correct_of
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.from_scratch import from_scratch
from mixlab.studies.grids import numbers
from mixlab.studies.left_out import left_out_as_test
from mixlab.studies.patches_design import FEW, MANY, Cell, Fraction, Network, cells
from mixlab.studies.patches_result import Measured, make_result
from mixlab.training.recipes.schema import Recipe
from mixlab.training.training import Training
from mixlab.weights.load import load_pretrained
from mixlab.zoo.scaling import matched_config

COST = "108 trainings of the length of 25 epochs on 10,000 images"

FOLDS = 5
"""Folds of the training images. Each seed leaves out one of them."""

_MODEL, _RECIPE_OF = "variant:metaformer", "vit_nano"

_MIXING_FIELDS = {"attention": "attention", "token MLP": "token-mlp", "depthwise": "depthwise"}
_HEAD_CHANNELS = 16
_TOKEN_HIDDEN = 16
_DEPTHS = ((4, 1, 1),)
_DEPTHS_OF_ATTENTION_PYRAMID = ((3, 1, 1), (3, 2, 1))
"""Attention takes many multiply-accumulates at the fine grid of the first stage, which has fewer blocks to match."""

_WIDTH_UNIT = 2 * _HEAD_CHANNELS  # the first stage of a pyramid has half of the channels


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    fraction: Fraction = field(default="half", metadata={"help": "All combinations of the factors, or half of them."})
    rates: tuple[str, ...] = field(
        default=("0.001", "0.002", "0.004"), metadata={"help": "Comma-separated learning rates to choose from."}
    )
    seeds: int = field(default=3, metadata={"help": "Trainings of each combination and rate.", "min": 2})
    epochs: int = field(default=25, metadata={"help": "Epochs on all images; all trainings have its steps.", "min": 1})
    images: int = field(default=10_000, metadata={"help": "Maximum training images, balanced by class.", "min": 1})
    share: int = field(
        default=10, metadata={"help": "Per cent of the images in the trainings on few images.", "min": 1, "max": 99}
    )
    batch: int = field(default=64, metadata={"help": "Images of a step.", "min": 2})
    image_size: int = field(default=32, metadata={"help": "Pixels of a side.", "min": 1})
    patch_size: int = field(default=8, metadata={"help": "Pixels of a side of a patch: 4, 8, 16, ...", "min": 1})
    kernel_size: int = field(default=3, metadata={"help": "Patches of a side of a depthwise kernel.", "min": 1})
    parameters: int = field(default=300_000, metadata={"help": "Parameters of all networks.", "min": 1})
    macs: int = field(default=4_860_000, metadata={"help": "Multiply-accumulates of all networks.", "min": 1})
    tolerance: float = field(
        default=2.0, metadata={"help": "Largest deviation from both, in per cent.", "min": 0.0, "max": 50.0}
    )
    widths: tuple[str, ...] = field(
        default=("64", "96"), metadata={"help": f"Comma-separated channels to try, multiples of {_WIDTH_UNIT}."}
    )


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """An arm for each cell and rate. Raises UserError if the networks can't be matched, or a setting does not fit."""
    design, rates = cells(settings.fraction), _rates(settings)
    _require_grid(settings)
    per_class, steps = _images_and_steps(dataset, settings)
    configs = {
        network: _config(dataset, settings, network) for network in dict.fromkeys(cell.network for cell in design)
    }

    def recipe(cell: Cell, rate: float, seed: int) -> Recipe:
        subset = {"folds": FOLDS, "left_out_fold": seed % FOLDS, "per_class": per_class[cell.images], "seed": seed}
        return _recipe(dataset, settings, configs[cell.network], rate, seed, steps=steps, subset=subset)

    return {
        arm_name(cell, rate): [recipe(cell, rate, seed) for seed in range(settings.seeds)]
        for rate in rates
        for cell in design
    }


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """The chosen rates, main effects, interactions and findings."""
    dataset = trained.datasets[trained.dataset.name]
    measured: dict[float, dict[Cell, Measured]] = {}
    for rate in _rates(settings):
        measured[rate] = {}
        for cell in cells(settings.fraction):
            name = arm_name(cell, rate)
            validation = [
                _left_out_top1(run, training, dataset)
                for run, training in zip(trained.runs[name], trained.trainings[name], strict=True)
            ]
            trained.log(f"{name}, left-out images: {', '.join(f'{score:.1f}' for score in validation)} %")
            measured[rate][cell] = Measured(trained.arm(name), np.array(validation))
    return make_result(trained, settings, measured)


def arm_name(cell: Cell, rate: float) -> str:
    return f"{cell.name}, rate {rate:g}"


def _left_out_top1(run: Run, training: Training, dataset: Dataset) -> float:
    """Top-1 in per cent on the images that a training leaves out."""
    left_out = left_out_as_test(dataset, training.job.recipe)
    return 100 * float(correct_of(load_pretrained(run.path), left_out).mean())


def _config(dataset: Dataset, settings: Settings, network: Network) -> dict[str, Any]:
    """The fields of the config of a network, with sizes that match the targets. Raises UserError if there are none."""
    uneven = network.mixing == "attention" and network.shape == "pyramid"
    fields = {
        "mixing": _MIXING_FIELDS[network.mixing],
        "stem": network.stem,
        "shape": network.shape,
        "position": "learned",
        "patch_size": settings.patch_size,
        "kernel_size": settings.kernel_size,
        "token_hidden": _TOKEN_HIDDEN,
        "head_channels": _HEAD_CHANNELS,
    }
    given = {"image_size": settings.image_size, "classes": len(dataset.classes)}
    sizes = {"channels": _widths(settings), "depths": _DEPTHS_OF_ATTENTION_PYRAMID if uneven else _DEPTHS}
    candidates = {name: [value] for name, value in (fields | given).items()} | sizes
    try:
        found = matched_config(
            _MODEL,
            candidates,
            {"parameters": settings.parameters, "macs": settings.macs},
            settings.tolerance / 100,
        )
    except UserError as error:
        raise UserError(
            f"No network of {network.name} matches the others: {error} The options are --widths, --tolerance, "
            "--parameters and --macs."
        ) from error
    return {name: value for name, value in found.items() if name not in given}


def _recipe(
    dataset: Dataset, settings: Settings, config: Mapping[str, Any], rate: float, seed: int, **fields: Any
) -> Recipe:
    recipe = from_scratch(
        _MODEL,
        dataset,
        settings,
        seed,
        recipe_of=_RECIPE_OF,
        config=config,
        batch=settings.batch,
        epochs=None,
        **fields,
    )
    return recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"learning_rate": rate})})


def _images_and_steps(dataset: Dataset, settings: Settings) -> tuple[Mapping[str, int], int]:
    """The training images of each class, by their amount, and the steps of all trainings.

    Raises UserError if there are too few images for a batch, or for a difference between the amounts.
    """
    counts = np.bincount(dataset.merge_validation().splits["train"].labels, minlength=len(dataset.classes))
    counts = counts * (FOLDS - 1) // FOLDS
    many = min(max(settings.images // len(dataset.classes), 1), int(counts.max()))
    few = max(round(many * settings.share / 100), 1)
    if few == many or np.minimum(counts, few).sum() < settings.batch:
        raise UserError(
            f"{settings.share} % of the training images are {np.minimum(counts, few).sum()}, but the study needs a "
            f"batch of {settings.batch}, and more images in the other trainings: give a smaller --batch, another "
            "--share, or more --images."
        )
    steps = settings.epochs * int(np.minimum(counts, many).sum()) // settings.batch
    return {FEW: few, MANY: many}, max(steps, 1)


def _rates(settings: Settings) -> tuple[float, ...]:
    return numbers("--rates", settings.rates, above=0, most=1, example="0.001,0.002,0.004")


def _widths(settings: Settings) -> list[int]:
    """The channels to try. Raises UserError."""
    found = numbers("--widths", settings.widths, above=0, most=4096, example="64,96")
    for width in found:
        if width % _WIDTH_UNIT:
            raise UserError(
                f"--widths {','.join(settings.widths)} has {width:g}, which is not a multiple of {_WIDTH_UNIT}: the "
                f"first stage of a pyramid has half of the channels, in heads of {_HEAD_CHANNELS}. Give multiples, "
                "such as 64,96."
            )
    return [int(width) for width in found]


def _require_grid(settings: Settings) -> None:
    """Raises UserError if one of the stems or the last stage of a pyramid can't divide the image."""
    patch = settings.patch_size
    if patch < 4 or patch & (patch - 1):
        raise UserError(
            f"--patch-size {patch} can't be reached by convolutions with stride 2, from half of it in the first stage "
            "of a pyramid: give 4, 8, 16 or another power of 2."
        )
    if settings.image_size % (2 * patch):
        below = settings.image_size // (2 * patch) * 2 * patch
        raise UserError(
            f"--image-size {settings.image_size} is not a multiple of {2 * patch}, the patches of the last stage of a "
            f"pyramid with --patch-size {patch}: give --image-size {below or 2 * patch}, or a smaller --patch-size."
        )
