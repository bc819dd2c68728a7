"""Does a Mixer need a position embedding, and does a ViT?

A Mixer and a ViT are trained from scratch without position embedding, with a learned one, and with fixed sines and
cosines. They differ in the mixing of patches, in the position embedding, and in the weight decay of the default recipes
of their families. With --data two-shapes, the images are generated: only the relative position of two shapes decides
the class. Augmentation is then off, because mirrored images have another class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixlab.data.dataset import Dataset
from mixlab.data.readers import two_shapes
from mixlab.errors import UserError
from mixlab.report.axes import Axis
from mixlab.report.grouped_plot import grouped_plot
from mixlab.report.table import Cell, Column, Table
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import ArmsResult, Quantity
from mixlab.studies.from_scratch import chance, from_scratch
from mixlab.studies.grids import words
from mixlab.studies.position_claims import (
    SOLVED,
    above_solved_name,
    arm_name,
    claims_about_images,
    claims_about_two_shapes,
    positions_text,
)
from mixlab.training.recipes.schema import Recipe
from mixlab.weights.load import build_with_weights, load_pretrained

COST = "18 trainings of 25 epochs on 10,000 images"

POSITIONS = ("none", "learned", "sincos")

_MODELS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "Mixer": ("mixer_nano", {"mixing": "token-mlp"}),
    "ViT": ("vit_nano", {"mixing": "attention"}),
}
"""For each model, the size whose default recipe it has, and its mixing of patches."""

_HEADS = 4
_CHECKED_GROUPS = 16
"""Groups of images whose logits are compared in float64."""


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    positions: tuple[str, ...] = field(
        default=POSITIONS, metadata={"help": "Comma-separated position embeddings; none is always included."}
    )
    seeds: int = field(default=3, metadata={"help": "Trainings of each network.", "min": 2})
    epochs: int = field(default=25, metadata={"help": "Epochs of each training.", "min": 1})
    images: int = field(default=10_000, metadata={"help": "Maximum training images, balanced by class.", "min": 1})
    image_size: int = field(default=32, metadata={"help": "Pixels of a side.", "min": 1})
    patch_size: int = field(default=4, metadata={"help": "Pixels of a side of a patch.", "min": 1})
    channels: int = field(default=64, metadata={"help": "Width of both networks, a multiple of 4.", "min": 4})
    depth: int = field(default=6, metadata={"help": "Blocks of both networks.", "min": 1})


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """An arm for each model and position embedding. Raises UserError if a setting is not valid."""
    positions = _positions(settings)
    _require_sizes(settings)
    if _is_generated(dataset):
        _require_whole_cells(settings)
    return {
        arm_name(model, position): [_recipe(dataset, settings, model, position, seed) for seed in range(settings.seeds)]
        for model in _MODELS
        for position in positions
    }


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """The accuracy by position embedding, findings, and for generated images what is exact."""
    positions = _positions(settings)
    generated = _is_generated(trained.dataset)
    by_chance = chance(trained.dataset)
    top1 = {
        model: {positions_text(position): trained.arm(arm_name(model, position)).top1 for position in positions}
        for model in _MODELS
    }
    figure = grouped_plot(
        "Accuracy by position embedding",
        top1,
        Axis("Top-1", "%", "higher", digits=1),
        line=("chance", by_chance),
        caption="Points are means over seeds, lines 95 % intervals.",
    )
    return trained.result(
        title="Does a Mixer need a position embedding, and does a ViT?",
        command="mixlab study position",
        settings=settings,
        claims=claims_about_two_shapes(positions) if generated else claims_about_images(positions),
        quantities=tuple(_above_solved(trained, model, p) for model in _MODELS for p in positions) if generated else (),
        pairs=tuple(
            (arm_name(model, position), arm_name(model, "none"))
            for model in _MODELS
            for position in positions
            if position != "none"
        ),
        own_tables=(_groups_table(trained),) if generated else (),
        own_figures=(figure,),
        notes=(f"Chance is {by_chance:.1f} %: the most frequent class of the test images.",),
    )


def _recipe(dataset: Dataset, settings: Settings, model: str, position: str, seed: int) -> Recipe:
    recipe_of, mixing = _MODELS[model]
    sizes = {
        "patch_size": settings.patch_size,
        "channels": settings.channels,
        "token_hidden": settings.channels,
        "channel_hidden": 4 * settings.channels,
        "head_channels": settings.channels // _HEADS,
        "depths": (settings.depth,),
    }
    unaugmented = {"augmentation": {}} if _is_generated(dataset) else {}
    return from_scratch(
        "variant:metaformer",
        dataset,
        settings,
        seed,
        recipe_of=recipe_of,
        config={**sizes, **mixing, "position": position},
        **unaugmented,
    )


def _above_solved(trained: TrainedArms, model: str, position: str) -> Quantity:
    scores = trained.arm(arm_name(model, position)).scores
    values = tuple(round(score - SOLVED, 9) for score in scores)
    return Quantity(above_solved_name(model, position), values, least=-SOLVED, most=100 - SOLVED)


def _groups_table(trained: TrainedArms) -> Table:
    """For each arm, whether its models distinguish the images of a group, which have the same patches."""
    rows: list[dict[str, Cell]] = [
        {
            "name": name,
            "single": 100 * float(np.mean([_single_answers(trained, name, seed) for seed in range(len(runs))])),
            "difference": f"{_largest_difference(trained, name):.1e}",
        }
        for name, runs in trained.runs.items()
    ]
    columns = [
        Column("name", "arm"),
        Column("single", "groups with a single answer", "%", digits=1),
        Column("difference", "largest difference of a logit in a group"),
    ]
    notes = [
        "The four images of a group have the same patches in another order, and one of each class. A model that does "
        "not depend on the order has one answer for all four, and one of them is right: 25 %, with any weights.",
        f"Differences of logits are those of the first training in float64, for {_CHECKED_GROUPS} groups; answers are "
        "those in fp32, where rounding may change an answer.",
    ]
    return Table("Images with the same patches", columns, rows, notes)


def _single_answers(trained: TrainedArms, name: str, seed: int) -> float:
    """The share of groups of test images for which a model predicts a single class."""
    test = trained.dataset.splits["test"]
    predictions = trained.predictions(name)[seed]
    assert predictions.names is not None and predictions.predicted is not None
    answers: dict[str, set[int]] = {group: set() for group in test.groups}
    group_of = dict(zip(test.names, test.groups, strict=True))
    for image, answer in zip(predictions.names, predictions.predicted[0].tolist(), strict=True):
        answers[group_of[image]].add(answer)
    return float(np.mean([len(of_group) == 1 for of_group in answers.values()]))


def _largest_difference(trained: TrainedArms, name: str) -> float:
    """The largest difference of a logit between images of a group, in float64."""
    pretrained = load_pretrained(trained.runs[name][0].path)
    test = trained.dataset.splits["test"]
    images = [pretrained.image_preprocess(test.image(index)) for index in range(min(len(test), 4 * _CHECKED_GROUPS))]
    model = build_with_weights(pretrained.weights).double().eval()
    with torch.inference_mode():
        logits: Tensor = model(torch.stack(images).double())
    by_group = logits.unflatten(0, (-1, len(two_shapes.CLASSES)))
    return float((by_group - by_group[:, :1]).abs().max())


def _is_generated(dataset: Dataset) -> bool:
    return dataset.name.partition(":")[0] == two_shapes.NAME


def _positions(settings: Settings) -> tuple[str, ...]:
    """The position embeddings in the order of `POSITIONS`, with "none". Raises UserError."""
    given = words("--positions", settings.positions, POSITIONS)
    return tuple(position for position in POSITIONS if position in ("none", *given))


def _require_sizes(settings: Settings) -> None:
    """Raises UserError if the channels can't be divided among the heads, or the image into patches."""
    if settings.channels % _HEADS:
        raise UserError(
            f"--channels {settings.channels} is not a multiple of {_HEADS}, the heads of the ViT: give "
            f"{settings.channels // _HEADS * _HEADS}."
        )
    if settings.image_size % settings.patch_size:
        raise UserError(
            f"--image-size {settings.image_size} is not a multiple of --patch-size {settings.patch_size}: change "
            "one of them."
        )


def _require_whole_cells(settings: Settings) -> None:
    """Raises UserError if patches do not divide the cells of the generated images."""
    if settings.image_size != two_shapes.SIZE or two_shapes.CELL % settings.patch_size:
        raise UserError(
            f"{two_shapes.NAME} has images of {two_shapes.SIZE} pixels with cells of {two_shapes.CELL}, but "
            f"--image-size is {settings.image_size} and --patch-size {settings.patch_size}: give "
            f"--image-size {two_shapes.SIZE} and --patch-size 1, 2 or 4, so that the images of a group have the same "
            "patches."
        )
